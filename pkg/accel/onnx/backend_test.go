package onnx

import (
	"bytes"
	"context"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/runw/runw/pkg/accel"
)

// libraryDir is where `.ci/accel-libs build/accel` puts ONNX Runtime.
func libraryDir(t testing.TB) string {
	t.Helper()
	dir, err := filepath.Abs("../../../build/accel/onnx")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, fileNames[0])); err != nil {
		t.Skipf("%v: .ci/accel-libs build/accel fetches it", err)
	}
	return dir
}

// open opens the real library; lines are what it logs.
func open(t testing.TB, grants accel.Grants) (b *backend, lines *[]string) {
	t.Helper()
	lines = new([]string)
	opened, err := Open(accel.Options{LibraryDirs: []string{libraryDir(t)}, Grants: grants, Log: func(line string) { *lines = append(*lines, line) }})
	if err != nil {
		t.Fatal(err)
	}
	return opened.(*backend), lines
}

// file is a model's.
func file(t testing.TB, data []byte) *os.File {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(t.TempDir(), "model.onnx"), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err == nil {
		_, err = f.Write(data)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func files(t testing.TB, data []byte) []*os.File { return []*os.File{file(t, data)} }

func load(t testing.TB, b accel.Backend, data []byte) accel.Graph {
	t.Helper()
	g, err := b.Load(context.Background(), accel.Model{Files: files(t, data)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

func newContext(t testing.TB, g accel.Graph) accel.Context {
	t.Helper()
	x, err := g.NewContext()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.Close)
	return x
}

func set(t testing.TB, x accel.Context, index uint32, kind accel.TensorType, dims []uint32, data []byte) {
	t.Helper()
	if err := x.SetInput(index, accel.Tensor{Type: kind, Dims: dims, Data: data}); err != nil {
		t.Fatal(err)
	}
}

func compute(t testing.TB, x accel.Context) {
	t.Helper()
	if err := x.Compute(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func output(t testing.TB, x accel.Context, index uint32) []byte {
	t.Helper()
	b, err := x.Output(index)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(b)
}

func floats(b []byte) []float32 {
	list := make([]float32, len(b)/4)
	for i := range list {
		list[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return list
}
