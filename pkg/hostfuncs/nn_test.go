package hostfuncs

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/runw/runw/pkg/accel"
	"github.com/runw/runw/pkg/hostfuncs/abi"
	"golang.org/x/sys/unix"
)

func TestNNCompute(t *testing.T) {
	g := newNNGuest(t, "", Config{})
	graph := g.load("echo", `{"n-predict":4}`)
	out := g.alloc(4)
	g.want(0, "init_execution_context", graph, out)
	ctx := uint64(g.u32(out))
	g.want(0, "set_input", ctx, 0, g.tensor(accel.F32, []uint32{1, 3, 224}, "abcd"))
	g.want(accel.ErrRuntime, "get_output", ctx, 0, out, 4, out)
	g.logged("get_output: runtime error: nothing computed yet")
	g.want(0, "compute", ctx)
	for index, want := range []string{"abcd", `{"n-predict":4}`, "1 [1 3 224] 4 394 0"} {
		if got := g.output("get_output", ctx, uint64(index)); got != want {
			t.Errorf("output %d is %q, want %q", index, got, want)
		}
	}
	g.want(0, "finalize_execution_context", ctx)
	g.want(accel.ErrInvalidArgument, "finalize_execution_context", ctx)
	g.want(0, "unload", graph)
	g.want(accel.ErrInvalidArgument, "unload", graph)
}

// A buffer that is too small is left alone, and the guest told what it needs.
func TestNNGetOutputSize(t *testing.T) {
	g := newNNGuest(t, "", Config{})
	ctx := g.context(g.load("echo"), "twelve bytes")
	g.want(0, "compute", ctx)
	to, written := g.alloc(16), g.alloc(4)
	copy(g.bytes(to, 4), "keep")
	for _, room := range []uint64{0, 1, 11} {
		g.mem.PutUint32(uint32(written), 0)
		g.want(accel.ErrTooLarge, "get_output", ctx, 0, to, room, written)
		if n := g.u32(written); n != 12 || string(g.bytes(to, 4)) != "keep" {
			t.Errorf("room %d: %d bytes needed, buffer %q", room, n, g.bytes(to, 12))
		}
	}
	g.want(0, "get_output", ctx, 0, to, 12, written)
	if len(g.log) != 0 {
		t.Errorf("log %q", g.log)
	}
}

func TestNNComputeSingle(t *testing.T) {
	g := newNNGuest(t, "", Config{})
	ctx := g.context(g.load("echo"), "xyz")
	for range 2 {
		text := ""
		for {
			errno := g.nn("compute_single", ctx)
			if errno == accel.ErrEndOfSequence {
				break
			}
			if errno != 0 {
				t.Fatal(errno)
			}
			text += g.output("get_output_single", ctx, 0)
		}
		if text != "xyz" {
			t.Errorf("text %q", text)
		}
		g.want(0, "fini_single", ctx)
	}
	g.want(0, "compute_single", ctx)
	g.want(0, "fini_single", ctx)
	g.want(accel.ErrInvalidArgument, "get_output_single", ctx, 0, g.alloc(4), 4, g.alloc(4))
}

// What is unloaded stays readable through its contexts.
func TestNNUnload(t *testing.T) {
	g := newNNGuest(t, "", Config{})
	graph := g.load("echo")
	ctx := g.context(graph, "still here")
	g.want(0, "compute", ctx)
	g.want(0, "unload", graph)
	if got := g.output("get_output", ctx, 0); got != "still here" {
		t.Errorf("output %q", got)
	}
	g.want(accel.ErrRuntime, "compute", ctx)
	g.want(accel.ErrInvalidArgument, "init_execution_context", graph, g.alloc(4))
	g.want(0, "finalize_execution_context", ctx)
}

func TestNNLoad(t *testing.T) {
	g := newNNGuest(t, "", Config{})
	one, _ := g.builders("echo", "{}", "more")
	broken, _ := g.builders("no model")
	out := g.alloc(4)
	const ggml, cpu = uint64(accel.EncodingGGML), uint64(accel.TargetCPU)
	for _, row := range []struct {
		builders, count, encoding, target, out uint64
		want                                   accel.Errno
		line                                   string
	}{
		{one, 1, ggml, uint64(accel.TargetAuto), out, 0, ""},
		{one, 1, uint64(accel.EncodingONNX), uint64(accel.TargetGPU), out, 0, ""},
		{one, 1, uint64(accel.EncodingAutodetect), cpu, out, accel.ErrInvalidEncoding, "the encoding is not detected"},
		{one, 1, uint64(accel.EncodingOpenVINO), cpu, out, accel.ErrInvalidEncoding, "no backend for encoding 0"},
		{one, 1, math.MaxUint32, cpu, out, accel.ErrInvalidEncoding, "no backend"},
		{one, 1, ggml, uint64(accel.TargetTPU), out, accel.ErrUnsupportedOperation, "TPU"},
		{one, 1, ggml, 4, out, accel.ErrInvalidArgument, "unknown target"},
		{one, 0, ggml, cpu, out, accel.ErrInvalidArgument, "0 builders"},
		{one, 3, ggml, cpu, out, accel.ErrInvalidArgument, "3 builders"},
		{one, math.MaxUint32, ggml, cpu, out, accel.ErrInvalidArgument, "builders"},
		{broken, 1, ggml, cpu, out, accel.ErrInvalidEncoding, "load: test: invalid encoding"},
		{math.MaxUint32 - 3, 1, ggml, cpu, out, accel.ErrInvalidArgument, ""},
		{guestMemory - 8, 2, ggml, cpu, out, accel.ErrInvalidArgument, ""},
		{one, 1, ggml, cpu, guestMemory - 3, accel.ErrInvalidArgument, ""},
	} {
		g.log = nil
		g.want(row.want, "load", row.builders, row.count, row.encoding, row.target, row.out)
		if row.line != "" {
			g.logged(row.line)
		}
	}
	hostile := g.alloc(8)
	for _, v := range [][2]uint32{{guestMemory - 1, 2}, {math.MaxUint32, math.MaxUint32}, {16, math.MaxUint32}} {
		g.mem.PutUint32(uint32(hostile), v[0])
		g.mem.PutUint32(uint32(hostile)+4, v[1])
		g.want(accel.ErrInvalidArgument, "load", hostile, 1, ggml, cpu, out)
	}
}

// A path in a builder is one of the guest's: through its preopens, with its
// rights, and regular files only.
func TestNNLoadPath(t *testing.T) {
	g := newNNGuest(t, "", Config{})
	for name, make := range map[string]func(path string) error{
		"dir":   func(p string) error { return os.Mkdir(p, 0o700) },
		"pipe":  func(p string) error { return unix.Mkfifo(p, 0o600) },
		"out":   func(p string) error { return os.Symlink("/etc/passwd", p) },
		"alias": func(p string) error { return os.Symlink("echo", p) },
	} {
		if err := make(filepath.Join(g.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	out := g.alloc(4)
	for path, want := range map[string]accel.Errno{
		"/models/echo":                          0,
		"/models/dir/../alias":                  0,
		"/models/none":                          accel.ErrModelNotFound,
		"/models/echo/x":                        accel.ErrModelNotFound,
		"/models":                               accel.ErrInvalidArgument,
		"/models/dir":                           accel.ErrInvalidArgument,
		"/models/pipe":                          accel.ErrInvalidArgument,
		"/models/out":                           accel.ErrInvalidArgument,
		"/models/../etc/passwd":                 accel.ErrInvalidArgument,
		"/etc/passwd":                           accel.ErrInvalidArgument,
		"echo":                                  accel.ErrInvalidArgument,
		"":                                      accel.ErrModelNotFound,
		"/models/echo\x00":                      accel.ErrInvalidArgument,
		"/models/" + strings.Repeat("x/", 3000): accel.ErrInvalidArgument,
	} {
		g.top = 1024
		ptr, n := g.builders("preload:" + path)
		g.log = nil
		if got := g.nn("load", ptr, n, uint64(accel.EncodingGGML), 0, out); got != want {
			t.Errorf("%.40q: %d, want %d; log %q", path, got, want, g.log)
		} else if want != 0 {
			g.logged("load: open ")
		}
	}
	dir := uint64(3)
	g.guest.must("fd_fdstat_set_rights", dir, uint64(rightPathOpen), uint64(rightFdWrite))
	ptr, n := g.builders("preload:/models/echo")
	g.want(accel.ErrInvalidArgument, "load", ptr, n, uint64(accel.EncodingGGML), 0, out)
	g.guest.must("fd_close", dir)
	g.want(accel.ErrInvalidArgument, "load", ptr, n, uint64(accel.EncodingGGML), 0, out)
	g.logged("NOTCAPABLE")
}

// The descriptors of the guest are no file of their own.
func TestNNLoadAlias(t *testing.T) {
	g := newNNGuest(t, "", Config{Preopens: []Preopen{{Name: "/", Path: "/"}}})
	out := g.alloc(4)
	for _, path := range []string{"/dev/stdin", "/proc/self/fd/0", "/proc/self/mem", "/dev/zero"} {
		ptr, n := g.builders("preload:" + path)
		if got := g.nn("load", ptr, n, uint64(accel.EncodingGGML), 0, out); got != accel.ErrInvalidArgument && got != accel.ErrModelNotFound {
			t.Errorf("%s: %d", path, got)
		}
	}
}

func TestNNLoadByName(t *testing.T) {
	models := []NNModel{
		{Name: "default", Encoding: accel.EncodingGGML, Target: accel.TargetAuto, Path: "echo"},
		{Name: "gone", Encoding: accel.EncodingGGML, Path: "/nowhere/model"},
		{Name: "broken", Encoding: accel.EncodingONNX, Path: "broken"},
		{Name: "proc", Encoding: accel.EncodingGGML, Path: "/proc/self/exe"},
	}
	// The names do not need a preopen.
	g := newNNGuest(t, "", Config{NN: NN{Models: models}, Preopens: []Preopen{}})
	byName := func(want accel.Errno, name string) uint64 {
		t.Helper()
		ptr, n := g.put(name)
		out := g.alloc(4)
		g.want(want, "load_by_name", ptr, n, out)
		return uint64(g.u32(out))
	}
	graph := byName(0, "default")
	if again := byName(0, "default"); again != graph {
		t.Errorf("graph %d, then %d", graph, again)
	}
	name, n := g.put("default")
	config, size := g.put(`{"a":"b"}`)
	out := g.alloc(4)
	g.want(0, "load_by_name_with_config", name, n, config, size, out)
	if again := g.u32(out); uint64(again) != graph {
		t.Errorf("with a configuration: graph %d, want %d", again, graph)
	}
	g.want(0, "unload", graph)
	g.want(0, "load_by_name_with_config", name, n, config, size, out)
	next := uint64(g.u32(out))
	if next <= graph {
		t.Errorf("graph %d after %d", next, graph)
	}
	ctx := g.context(next, "x")
	g.want(0, "compute", ctx)
	if got := g.output("get_output", ctx, 1); got != `{"a":"b"}` {
		t.Errorf("configuration %q", got)
	}
	g.log = nil
	byName(accel.ErrNotFound, "other")
	g.logged(`load_by_name: no model is named "other" (WASMEDGE_WASINN_PRELOAD, run.runw.nn-preload)`)
	byName(accel.ErrNotFound, "")
	byName(accel.ErrModelNotFound, "gone")
	g.logged("load_by_name: gone: open /nowhere/model: NOENT")
	byName(accel.ErrInvalidEncoding, "broken")
	byName(accel.ErrInvalidArgument, "proc")
	g.want(accel.ErrInvalidArgument, "load_by_name", guestMemory-1, 2, out)
	g.want(accel.ErrInvalidArgument, "load_by_name", name, math.MaxUint32, out)
	g.want(accel.ErrInvalidArgument, "load_by_name", name, n, guestMemory-2)
	g.want(accel.ErrInvalidArgument, "load_by_name_with_config", name, n, guestMemory-1, 2, out)
	if process := g.workers.Next(); process.Kill() != nil {
		t.Fatal("the worker is gone already")
	}
	// The name is loaded anew when the worker's end is seen.
	for deadline := time.Now().Add(10 * time.Second); byName(0, "default") == next; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the worker does not end")
		}
	}
}

func TestNNSetInput(t *testing.T) {
	g := newNNGuest(t, "bytes=8KiB", Config{})
	ctx := g.context(g.load("echo"), "x")
	valid := g.tensor(accel.U8, []uint32{1 << 31, 1 << 31}, "lying dimensions")
	g.want(0, "set_input", ctx, 0, valid)
	g.want(accel.ErrInvalidArgument, "set_input", ctx, 99, valid)
	g.want(accel.ErrInvalidArgument, "set_input", ctx+1, 0, valid)
	g.want(accel.ErrInvalidArgument, "set_input", 0, 0, valid)
	for _, row := range []struct {
		what   string
		at     uint32
		v      uint32
		want   accel.Errno
		logged string
	}{
		{"dims outside", 0, guestMemory - 4, accel.ErrInvalidArgument, ""},
		{"too many dims", 4, 65, accel.ErrInvalidArgument, "too many dimensions"},
		{"four billion dims", 4, math.MaxUint32, accel.ErrInvalidArgument, "too many dimensions"},
		{"dims that overflow", 4, 1 << 30, accel.ErrInvalidArgument, "too many dimensions"},
		{"type 6", 8, 6, accel.ErrInvalidArgument, "unknown type"},
		{"type 255", 8, 255, accel.ErrInvalidArgument, "unknown type"},
		{"data outside", 12, guestMemory - 1, accel.ErrInvalidArgument, ""},
		{"data of 4 GiB", 16, math.MaxUint32, accel.ErrInvalidArgument, ""},
		{"data over the limit", 16, 10 << 10, accel.ErrTooLarge, "run.runw.nn-limits: bytes"},
	} {
		record := g.alloc(tensorSize)
		copy(g.bytes(record, tensorSize), g.bytes(valid, tensorSize))
		g.mem.PutUint32(uint32(record)+row.at, row.v)
		g.log = nil
		if got := g.nn("set_input", ctx, 0, record); got != row.want {
			t.Errorf("%s: %d, want %d", row.what, got, row.want)
		}
		if row.logged != "" {
			g.logged(row.logged)
		}
	}
	g.want(accel.ErrInvalidArgument, "set_input", ctx, 0, guestMemory-tensorSize+1)
	g.want(0, "compute", ctx)
	if got := g.output("get_output", ctx, 0); got != "lying dimensions" {
		t.Errorf("input %q", got)
	}
}

// Ten thousand loads without an unload, and contexts without an end: the quotas
// hold, and nothing is left over in this process.
func TestNNQuota(t *testing.T) {
	g := newNNGuest(t, "graphs=3,contexts=4", Config{})
	ptr, n := g.builders("echo")
	out := g.alloc(4)
	g.want(0, "load", ptr, n, uint64(accel.EncodingGGML), 0, out)
	before, loaded := openFDs(t), 1
	for range 10_000 {
		switch errno := g.nn("load", ptr, n, uint64(accel.EncodingGGML), 0, out); errno {
		case 0:
			loaded++
		case accel.ErrTooLarge:
		default:
			t.Fatalf("load: %d; log %q", errno, g.log)
		}
	}
	g.logged("run.runw.nn-limits: graphs")
	if loaded != 3 {
		t.Errorf("%d graphs are loaded", loaded)
	}
	if after := openFDs(t); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	graph := uint64(1)
	for i := range 100 {
		want := accel.ErrTooLarge
		if i < 4 {
			want = 0
		}
		g.want(want, "init_execution_context", graph, out)
	}
	g.logged("run.runw.nn-limits: contexts")
}

// The worker is killed in the middle of a call: an error for the guest, which
// then loads again.
func TestNNCrash(t *testing.T) {
	g := newNNGuest(t, "", Config{})
	graph := g.load("echo")
	ctx := g.context(graph, "hang")
	process := g.workers.Next()
	defer time.AfterFunc(50*time.Millisecond, func() { process.Kill() }).Stop()
	g.want(accel.ErrRuntime, "compute", ctx)
	g.logged("compute: it has ended")
	g.want(accel.ErrInvalidArgument, "compute", ctx)
	g.want(accel.ErrInvalidArgument, "init_execution_context", graph, g.alloc(4))
	again := g.load("echo")
	if again <= ctx {
		t.Errorf("graph %d after context %d", again, ctx)
	}
	ctx = g.context(again, "goes on")
	g.want(0, "compute", ctx)
	if got := g.output("get_output", ctx, 0); got != "goes on" {
		t.Errorf("output %q", got)
	}
}

// Without anything that computes each function answers, and no name is unknown.
func TestNNWithoutProcess(t *testing.T) {
	var log []string
	g := newGuest(t, Config{NN: NN{Log: func(line string) { log = append(log, line) }}})
	name, n := g.put("default")
	builders, count := g.iovec(name, n)
	out := g.alloc(32)
	for function, args := range map[string][]uint64{
		"load":                     {builders, count, 6, 0, out},
		"load_by_name":             {name, n, out},
		"load_by_name_with_config": {name, n, name, n, out},
	} {
		if got := g.nn(function, args...); got != accel.ErrUnsupportedOperation {
			t.Errorf("%s: %d", function, got)
		}
	}
	if len(log) != 3 || !strings.Contains(log[0], "there is no process for inference") {
		t.Errorf("log %q", log)
	}
	for function, args := range map[string][]uint64{
		"init_execution_context": {1, out}, "set_input": {1, 0, out}, "compute": {1},
		"get_output": {1, 0, out, 4, out}, "compute_single": {1}, "get_output_single": {1, 0, out, 4, out},
		"fini_single": {1}, "unload": {1}, "finalize_execution_context": {1},
	} {
		if got := g.nn(function, args...); got != accel.ErrInvalidArgument {
			t.Errorf("%s: %d", function, got)
		}
	}
	if got := g.nn("get_input_names", 1); got != accel.ErrUnsupportedOperation {
		t.Errorf("an unknown function: %d", got)
	}
}

// A module without a memory has no place for anything.
func TestNNNoMemory(t *testing.T) {
	h, err := New(Config{Stdio: [3]int{-1, -1, -1}})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	for _, f := range nnFunctions {
		linked, err := h.Link([]abi.Import{nnImport(f.name)})
		if err != nil {
			t.Fatal(err)
		}
		stack := make([]uint64, len(f.params))
		if err := linked[0].Call(nil, stack); err != nil {
			t.Errorf("%s ends the guest: %v", f.name, err)
		}
		want := accel.ErrMissingMemory
		if len(f.params) == 1 {
			want = accel.ErrInvalidArgument
		}
		if got := accel.Errno(stack[0]); got != want {
			t.Errorf("%s: %d, want %d", f.name, got, want)
		}
	}
}

func TestNNImports(t *testing.T) {
	i32 := []abi.ValueType{abi.I32}
	for _, im := range []abi.Import{
		{Module: nnModule, Name: "load_by_name", Sig: abi.Signature{Params: []abi.ValueType{abi.I64}, Results: i32}},
		{Module: nnModule, Name: "anything", Sig: abi.Signature{Results: i32}},
	} {
		if err := Check([]abi.Import{im}); err != nil {
			t.Error(err)
		}
	}
	for _, im := range []abi.Import{
		{Module: nnModule, Name: "load", Sig: abi.Signature{Params: i32}},
		{Module: nnModule, Name: "load", Sig: abi.Signature{Results: []abi.ValueType{abi.I64}}},
		{Module: "wasi_nn", Name: "load", Sig: abi.Signature{Results: i32}},
	} {
		if err := Check([]abi.Import{im}); err == nil {
			t.Errorf("%s %s is accepted", im.Name, im.Sig)
		}
	}
}

func TestNNTrace(t *testing.T) {
	var trace strings.Builder
	g := newNNGuest(t, "", Config{Trace: &trace, NN: NN{Models: []NNModel{{Name: "m", Encoding: accel.EncodingGGML, Path: "echo"}}}})
	name, n := g.put("m")
	out := g.alloc(4)
	g.want(0, "load_by_name", name, n, out)
	g.want(accel.ErrInvalidArgument, "unload", 7)
	want := fmt.Sprintf("load_by_name(name=\"m\") = SUCCESS graph=%d\nunload(graph=7) = invalid argument\n", binary.LittleEndian.Uint32(g.bytes(out, 4)))
	if trace.String() != want {
		t.Errorf("trace\n%swant\n%s", trace.String(), want)
	}
}
