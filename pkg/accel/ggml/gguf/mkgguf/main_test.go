package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/runw/runw/pkg/accel/ggml/gguf"
)

func TestRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "model.gguf")
	for _, args := range [][]string{{"-o", path}, {"-random", "-dim", "64", "-layers", "1", "-o", path}} {
		if err := run(args); err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		if err := gguf.Check(f, info.Size()); err != nil {
			t.Errorf("%v: %v", args, err)
		}
		_ = f.Close()
	}
	for _, args := range [][]string{{}, {"-dim", "64", "-o", path}, {"-o", filepath.Join(path, "x")}, {"-o", path, "more"}} {
		if err := run(args); err == nil {
			t.Errorf("%v was accepted", args)
		}
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
