package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/runw/runw/pkg/accel/ggml/gguf"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "mkgguf:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("mkgguf", flag.ContinueOnError)
	out := flags.String("o", "", "the `file` to write")
	random := flags.Bool("random", false, "pseudo-random weights instead of a successor table")
	seed := flags.Uint64("seed", 1, "of the weights")
	layers := flags.Int("layers", 0, "number of `layers` (default 2, with -random 8)")
	dim := flags.Int("dim", 0, "`length` of an embedding (default 384, with -random 1024)")
	context := flags.Int("context", 0, "`tokens` of context (default 512, with -random 2048)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *out == "" || flags.NArg() != 0 {
		return fmt.Errorf("usage: mkgguf [-random] -o FILE")
	}
	shape := gguf.Small
	if *random {
		shape = gguf.Large
	}
	for value, to := range map[*int]*int{layers: &shape.Layers, dim: &shape.Dim, context: &shape.Context} {
		if *value != 0 {
			*to = *value
		}
	}
	model, err := gguf.Successor(shape)
	if *random {
		model, err = gguf.Random(shape, *seed)
	}
	if err != nil {
		return err
	}
	return write(*out, model)
}

// write replaces the file at once: a reader may have it mapped.
func write(path string, model gguf.File) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".mkgguf-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if err := model.Write(f); err != nil {
		_ = f.Close()
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
