package ggml

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/runw/runw/pkg/accel"
	"github.com/runw/runw/pkg/accel/ggml/gguf"
)

func TestFindLibrary(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	touch := func(names ...string) {
		for _, name := range names {
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	find := func(gpu bool) string {
		path, err := findLibrary([]string{other, dir}, gpu)
		if err != nil {
			t.Fatal(err)
		}
		return filepath.Base(path)
	}
	_, err := findLibrary([]string{other, dir}, false)
	if !errors.Is(err, ErrNoLibrary) {
		t.Fatalf("error %v", err)
	}
	for _, want := range []string{other, dir, "--accel-lib-dir", "RUNW_ACCEL_LIBS", "/etc/runw/accel.json"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not name %s", err, want)
		}
	}
	touch("libllama.v0.5.0.so", "libllama.vulkan.v0.5.0.so", "libllama-common.so")
	if got := find(false); got != "libllama.v0.5.0.so" {
		t.Errorf("found %s", got)
	}
	if got := find(true); got != "libllama.vulkan.v0.5.0.so" {
		t.Errorf("with a GPU found %s", got)
	}
	touch("libllama.so.0")
	if got := find(false); got != "libllama.so.0" {
		t.Errorf("found %s", got)
	}
	if err := os.Mkdir(filepath.Join(dir, "libllama.so"), 0o700); err != nil {
		t.Fatal(err)
	}
	if got := find(false); got != "libllama.so.0" {
		t.Errorf("beside a directory found %s", got)
	}
	if _, err := Open(accel.Options{}); !errors.Is(err, ErrNoLibrary) || !strings.HasPrefix(err.Error(), "ggml: ") {
		t.Errorf("without a directory: %v", err)
	}
	touch("libllama.so.0") // empty: no library
	if _, err := Open(accel.Options{LibraryDirs: []string{dir}}); err == nil || !strings.Contains(err.Error(), "libllama.so.0") {
		t.Errorf("a file that is none: %v", err)
	}
}

// What the binding believes of the library's structs and types.
func TestLayout(t *testing.T) {
	b := backend(t)
	if !b.lib.layout.model || !b.lib.layout.context {
		t.Errorf("layout of %s: %+v", b.Version(), b.lib.layout)
	}
	other := *b.lib
	other.modelDefaults = func() params { p := b.lib.modelDefaults(); p.setU32(modelGPULayers, 99); return p }
	if _, err := other.checkLayout(); err == nil {
		t.Error("another prefix was accepted")
	}
	other = *b.lib
	other.layout = layout{}
	other.contextDefaults = func() params { p := b.lib.contextDefaults(); p.setU32(contextTypeK, 0); return p }
	if text, err := other.checkLayout(); err != nil || len(text) != 1 || other.layout.context || !other.layout.model {
		t.Errorf("another rest: %v, %v, %+v", text, err, other.layout)
	}
	known := 0
	gguf.TypeSizes(func(kind uint32, block, bytes uint64) {
		known++
		if b.lib.blockSize(kind) != int64(block) || b.lib.typeSize(kind) != bytes {
			t.Errorf("type %d: %d in %d bytes, the library says %d in %d", kind, block, bytes, b.lib.blockSize(kind), b.lib.typeSize(kind))
		}
	})
	for kind := range uint32(43) {
		if b.lib.typeSize(kind) != 0 {
			known--
		}
	}
	if known != 0 {
		t.Errorf("%d types differ", known)
	}
}

func TestBackend(t *testing.T) {
	b := backend(t)
	if b.Name() != "ggml" || b.Encoding() != accel.EncodingGGML || !strings.HasPrefix(b.Version(), "0.5.") {
		t.Errorf("%s, %d, %s", b.Name(), b.Encoding(), b.Version())
	}
	list, err := b.Devices()
	if err != nil || len(list) != 1 || list[0].GPU || list[0].Name != "CPU" || list[0].Description == "" || list[0].Memory == 0 {
		t.Errorf("devices %+v, %v", list, err)
	}
	load := func(m accel.Model) error {
		g, err := b.Load(context.Background(), m)
		if err == nil {
			g.Close()
		}
		return err
	}
	file := modelFile(t, successor(t))
	one := []*os.File{file}
	memory, err := unix.MemfdCreate("model", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	memfd := os.NewFile(uintptr(memory), "model")
	defer memfd.Close()
	if _, err := memfd.Write(successor(t)); err != nil { // and so its position is the end
		t.Fatal(err)
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	defer writer.Close()
	for _, c := range []struct {
		name string
		m    accel.Model
		want error
	}{
		{"a file", accel.Model{Files: one}, nil},
		{"again", accel.Model{Files: one}, nil},
		{"a memfd", accel.Model{Files: []*os.File{memfd}}, nil},
		{"AUTO", accel.Model{Files: one, Target: accel.TargetAuto}, nil},
		{"a GPU", accel.Model{Files: one, Target: accel.TargetGPU}, accel.ErrUnsupportedOperation},
		{"a TPU", accel.Model{Files: one, Target: accel.TargetTPU}, accel.ErrUnsupportedOperation},
		{"no file", accel.Model{}, accel.ErrInvalidArgument},
		{"two files", accel.Model{Files: []*os.File{file, file}}, accel.ErrInvalidArgument},
		{"a pipe", accel.Model{Files: []*os.File{reader}}, accel.ErrInvalidArgument},
		{"metadata that is none", accel.Model{Files: one, Config: []byte("x")}, accel.ErrInvalidArgument},
		{"no mapping", accel.Model{Files: one, Config: []byte(`{"use-mmap":false,"repack":true,"split-mode":"none","main-gpu":0}`)}, nil},
		{"shares", accel.Model{Files: one, Config: []byte(`{"tensor-split":"3, 2"}`)}, nil},
		{"shares of nothing", accel.Model{Files: one, Config: []byte(`{"tensor-split":"x"}`)}, accel.ErrInvalidArgument},
	} {
		if err := load(c.m); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if err := load(accel.Model{Files: one, Target: accel.TargetGPU}); err == nil || !strings.Contains(err.Error(), "granted: none; found by llama.cpp: none") {
		t.Errorf("a GPU: %v", err)
	}
	if !strings.Contains(logged.String(), "target AUTO: the CPU: no GPU to compute on: granted: none") {
		t.Errorf("log:\n%s", logged)
	}
	ctx, stop := context.WithCancel(context.Background())
	stop()
	if _, err := b.Load(ctx, accel.Model{Files: one}); !errors.Is(err, accel.ErrRuntime) || !errors.Is(err, context.Canceled) {
		t.Errorf("an ended context: %v", err)
	}
}

// A context of a model with options has its memory before there is a prompt; one
// without waits for metadata. What cannot be had is an error of computing.
func TestContextPrepared(t *testing.T) {
	for _, c := range []struct {
		config   string
		prepared bool
		err      error
	}{
		{"", false, nil},
		{oneThread(`{"ctx-size":64}`), true, nil},
		{oneThread(`{"cache-type-v":"q8_0","flash-attn":"off"}`), false, accel.ErrInvalidArgument},
	} {
		g, err := backend(t).Load(context.Background(), accel.Model{
			Files: []*os.File{modelFile(t, successor(t))}, Config: []byte(c.config), Target: accel.TargetCPU,
		})
		if err != nil {
			t.Fatal(err)
		}
		x, err := g.NewContext()
		if err != nil {
			t.Fatal(err)
		}
		e := x.(*execution)
		made := e.ptr
		if (made != 0) != c.prepared {
			t.Errorf("%q: prepared %t", c.config, made != 0)
		}
		input(t, x, 0, "ab")
		if err := x.ComputeSingle(context.Background()); !errors.Is(err, c.err) {
			t.Errorf("%q: %v, want %v", c.config, err, c.err)
		}
		if c.prepared && e.ptr != made {
			t.Errorf("%q: made twice", c.config)
		}
		// Another context has had the model loaded with options of its own.
		if c.prepared {
			input(t, x, 1, `{"use-mmap":false}`)
			if err := x.ComputeSingle(context.Background()); err != nil {
				t.Errorf("%q, with other options: %v", c.config, err)
			}
			y, err := g.NewContext()
			if err != nil {
				t.Fatal(err)
			}
			if y.(*execution).ptr != 0 {
				t.Errorf("%q: the model was loaded for a context that nobody computes with", c.config)
			}
			y.Close()
		}
		x.Close()
		g.Close()
	}
}

// A graph that is unloaded leaves its contexts their outputs.
func TestUnload(t *testing.T) {
	b := backend(t)
	again := func() int { return strings.Count(logged.String(), "the model's options changed") }
	others := again()
	before := openFiles(t)
	file := modelFile(t, successor(t))
	g, err := b.Load(context.Background(), accel.Model{Files: []*os.File{file}, Config: []byte(`{"threads":1,"n-predict":2}`)})
	if err != nil {
		t.Fatal(err)
	}
	c, err := g.NewContext()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Output(0); !errors.Is(err, accel.ErrRuntime) {
		t.Errorf("output before computing: %v", err)
	}
	if err := c.Compute(context.Background()); !errors.Is(err, accel.ErrInvalidArgument) {
		t.Errorf("computing without a prompt: %v", err)
	}
	if err := c.SetInput(2, accel.Tensor{}); !errors.Is(err, accel.ErrInvalidArgument) {
		t.Errorf("input 2: %v", err)
	}
	input(t, c, 0, "ab")
	if err := c.Compute(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Output(2); !errors.Is(err, accel.ErrInvalidArgument) {
		t.Errorf("output 2: %v", err)
	}
	// Other options load the model again, a wrong one leaves all as it was.
	if err := c.SetInput(1, accel.Tensor{Data: []byte(`{"ctx-size":"x","use-mmap":false}`)}); !errors.Is(err, accel.ErrInvalidArgument) {
		t.Errorf("a wrong type: %v", err)
	}
	input(t, c, 1, `{"use-mmap":false,"ctx-size":128}`)
	if err := c.Compute(context.Background()); err != nil || output(t, c, 0) != "cd" {
		t.Errorf("after other options: %v", err)
	}
	if n := again() - others; n != 1 {
		t.Errorf("loaded %d times again", n)
	}
	g.Close()
	g.Close()
	if got := output(t, c, 0); got != "cd" {
		t.Errorf("output after unload %q", got)
	}
	if err := c.Compute(context.Background()); !errors.Is(err, accel.ErrRuntime) {
		t.Errorf("computing after unload: %v", err)
	}
	if _, err := g.NewContext(); err == nil {
		t.Error("a context of an unloaded graph")
	}
	c.Close()
	c.Close()
	if after := openFiles(t); after != before+1 { // the test's own
		t.Errorf("%d files are open, %d before", after, before)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// corrupt are changes to a file that keep its table in order: what the library
// makes of them is its own affair, and may be the end of its process.
var corrupt = []struct {
	name   string
	change func(t *testing.T, b []byte) []byte
}{
	{"truncated table", func(_ *testing.T, b []byte) []byte { return b[:1000] }},
	{"truncated data", func(_ *testing.T, b []byte) []byte { return b[:len(b)/2] }},
	{"no metadata", func(*testing.T, []byte) []byte {
		var out bytes.Buffer
		_ = gguf.File{}.Write(&out)
		return out.Bytes()
	}},
	{"zeros", func(*testing.T, []byte) []byte { return make([]byte, 1<<16) }},
	{"unknown architecture", replace("\x05\x00\x00\x00\x00\x00\x00\x00llama", "\x05\x00\x00\x00\x00\x00\x00\x00lmaal")},
	{"no heads", number("llama.attention.head_count", 0)},
	{"too many heads", number("llama.attention.head_count", 1<<31)},
	{"no layers", number("llama.block_count", 0)},
	{"too many layers", number("llama.block_count", 1<<30)},
	{"another length", number("llama.embedding_length", 1<<30)},
	{"no tensor of a name", replace("blk.1.attn_q.weight", "blk.1.attn_x.weight")},
	{"a name twice", replace("blk.1.attn_q.weight", "blk.1.attn_v.weight")},
	{"an unknown tokenizer", replace("\x05\x00\x00\x00\x00\x00\x00\x00llama\x15", "\x05\x00\x00\x00\x00\x00\x00\x00llaxx\x15")},
}

func replace(from, to string) func(*testing.T, []byte) []byte {
	return func(t *testing.T, b []byte) []byte {
		out := bytes.ReplaceAll(b, []byte(from), []byte(to))
		if bytes.Equal(out, b) {
			t.Fatalf("no %q", from)
		}
		return out
	}
}

func number(key string, v uint32) func(*testing.T, []byte) []byte {
	return func(t *testing.T, b []byte) []byte {
		i := bytes.Index(b, append([]byte(key), 4, 0, 0, 0))
		if i < 0 {
			t.Fatalf("no %q", key)
		}
		out := bytes.Clone(b)
		binary.LittleEndian.PutUint32(out[i+len(key)+4:], v)
		return out
	}
}

// inChild says to the test's own program to load the file of this name, and how.
const inChild = "GGML_TEST_LOAD"

// Corrupt models give an error or, where an assertion of the library fails, end
// the worker's process. Never is one loaded, and never does one hang.
func TestCorrupt(t *testing.T) {
	dir := libraryDir(t, "ggml")
	if path := os.Getenv(inChild); path != "" {
		loadInChild(path, dir)
	}
	for _, c := range corrupt {
		t.Run(c.name, func(t *testing.T) {
			file := bytesFile(t, c.change(t, bytes.Clone(successor(t))))
			cmd := exec.Command("/proc/self/exe", "-test.run=^TestCorrupt$", "-test.timeout=60s")
			cmd.Env = append(os.Environ(), inChild+"="+file.Name())
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) {
				t.Fatalf("the child ended with %v: %s", err, out)
			}
			if exit.ExitCode() == 3 && bytes.Contains(out, []byte("invalid argument")) {
				return
			}
			if status, ok := exit.Sys().(interface{ Signaled() bool }); !ok || !status.Signaled() && exit.ExitCode() != 2 {
				t.Errorf("the child ended with %v: %s", err, out)
			}
			t.Logf("an assertion of the library: %v", err)
		})
	}
}

// loadInChild ends the process: 3 is a clear error.
func loadInChild(path, dir string) {
	f, err := os.Open(path)
	if err != nil {
		fmt.Println(err)
		os.Exit(4)
	}
	b, err := Open(accel.Options{LibraryDirs: []string{dir}})
	if err != nil {
		fmt.Println(err)
		os.Exit(4)
	}
	if _, err := b.Load(context.Background(), accel.Model{Files: []*os.File{f}}); err != nil {
		fmt.Println(err)
		os.Exit(3)
	}
	fmt.Println("it was loaded")
	os.Exit(4)
}

// Loads without unload end in the caller's quota; each one unloaded leaves nothing.
func TestManyLoads(t *testing.T) {
	b := backend(t)
	file := modelFile(t, successor(t))
	load := func() {
		g, err := b.Load(context.Background(), accel.Model{Files: []*os.File{file}})
		if err != nil {
			t.Fatal(err)
		}
		c, err := g.NewContext()
		if err != nil {
			t.Fatal(err)
		}
		g.Close()
		c.Close()
	}
	load()
	files, memory := openFiles(t), resident(t)
	for range 50 {
		load()
	}
	if n := openFiles(t); n != files {
		t.Errorf("%d files are open, %d before", n, files)
	}
	if n := resident(t); n > memory+64<<20 {
		t.Errorf("%d MB resident, %d before", n>>20, memory>>20)
	}
}

func resident(t *testing.T) int {
	t.Helper()
	content, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var size, pages int
	if _, err := fmt.Sscan(string(content), &size, &pages); err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}
