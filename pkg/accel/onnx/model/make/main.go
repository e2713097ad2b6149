package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/runw/runw/pkg/accel/onnx/model"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "make:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("usage: make DIRECTORY")
	}
	for _, file := range model.Files() {
		if err := os.WriteFile(filepath.Join(args[0], file.Name), file.Data, 0o644); err != nil {
			return err
		}
	}
	return nil
}
