package ggml

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/runw/runw/pkg/accel"
	"github.com/runw/runw/pkg/accel/ggml/gguf"
)

// libraryDir is where `make accel-libs` puts a kind of the library.
func libraryDir(t testing.TB, kind string) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("../../../build/accel", kind))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("%v (make accel-libs fetches it)", err)
	}
	return dir
}

// lines collects a log.
type lines struct {
	mu   sync.Mutex
	text []string
}

func (l *lines) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, line)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.text, "\n")
}

// opened is the backend of this process: a process has one.
var opened = sync.OnceValues(func() (*Backend, error) {
	dir, err := filepath.Abs("../../../build/accel/ggml")
	if err != nil {
		return nil, err
	}
	b, err := Open(accel.Options{LibraryDirs: []string{filepath.Join(dir, "missing"), dir}, Log: logged.add})
	if err != nil {
		return nil, err
	}
	return b.(*Backend), nil
})

var logged = new(lines)

func backend(t testing.TB) *Backend {
	t.Helper()
	libraryDir(t, "ggml")
	b, err := opened()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// modelFile gives a model's file, opened.
func modelFile(t testing.TB, model []byte) *os.File {
	t.Helper()
	return bytesFile(t, model)
}

func bytesFile(t testing.TB, content []byte) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model.gguf")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// written is a model as a file's content.
func written(model gguf.File, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	var content bytes.Buffer
	err = model.Write(&content)
	return content.Bytes(), err
}

// Each is made once: under the race detector it takes seconds.
var (
	successorModel = sync.OnceValues(func() ([]byte, error) { return written(gguf.Successor(gguf.Small)) })
	randomModel    = sync.OnceValues(func() ([]byte, error) {
		shape := gguf.Architecture{Dim: 512, Layers: 4, Heads: 8, KVHeads: 2, FF: 512, Context: 4096, Type: gguf.Q8}
		return written(gguf.Random(shape, 5))
	})
)

func successor(t testing.TB) []byte {
	t.Helper()
	model, err := successorModel()
	if err != nil {
		t.Fatal(err)
	}
	return model
}

func random(t testing.TB) []byte {
	t.Helper()
	model, err := randomModel()
	if err != nil {
		t.Fatal(err)
	}
	return model
}

// newContext loads a model with metadata and makes a context of it.
func newContext(t testing.TB, model []byte, config string) accel.Context {
	t.Helper()
	return threadedContext(t, model, oneThread(config))
}

// threadedContext is newContext with as many threads as the metadata says.
func threadedContext(t testing.TB, model []byte, config string) accel.Context {
	t.Helper()
	g, err := backend(t).Load(context.Background(), accel.Model{
		Files: []*os.File{modelFile(t, model)}, Config: []byte(config), Target: accel.TargetCPU,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	c, err := g.NewContext()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func input(t testing.TB, c accel.Context, index uint32, text string) {
	t.Helper()
	if err := c.SetInput(index, accel.Tensor{Type: accel.U8, Dims: []uint32{1}, Data: []byte(text)}); err != nil {
		t.Fatalf("input %d %q: %v", index, text, err)
	}
}

func output(t testing.TB, c accel.Context, index uint32) string {
	t.Helper()
	text, err := c.Output(index)
	if err != nil {
		t.Fatalf("output %d: %v", index, err)
	}
	return string(text)
}

// oneThread adds to metadata that one thread computes: several wait for each
// other by spinning, which takes seconds where other tests use the processors.
func oneThread(config string) string {
	return `{"threads":1,` + strings.TrimPrefix(strings.Replace(config, "{}", `{"temp":0.8}`, 1), "{")
}
