package wire_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/runw/runw/pkg/accel"
	"github.com/runw/runw/pkg/accel/acceltest"
	"github.com/runw/runw/pkg/accel/wire"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	acceltest.Main()
	os.Exit(m.Run())
}

// engine is a test's Client and what it has logged.
type engine struct {
	*wire.Client
	t       *testing.T
	workers *acceltest.Spawned
	log     []string
}

func limits(t *testing.T, s string) wire.Limits {
	t.Helper()
	l, err := wire.ParseLimits(s)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func start(t *testing.T, quotas string) *engine {
	t.Helper()
	before := descriptors(t)
	t.Cleanup(func() {
		if after := descriptors(t); after != before {
			t.Errorf("%d descriptors before, %d after", before, after)
		}
	})
	fd, workers := acceltest.Start(t, limits(t, quotas))
	e := &engine{t: t, workers: workers}
	e.Client = wire.NewClient(fd, func(line string) { e.log = append(e.log, line) })
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// model is a file with the text.
func model(t *testing.T, text string) int {
	t.Helper()
	path := t.TempDir() + "/model"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return int(f.Fd())
}

// memory is a model that the guest has as bytes.
func memory(t testing.TB, b []byte) int {
	t.Helper()
	fd, err := unix.MemfdCreate("model", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "model")
	t.Cleanup(func() { f.Close() })
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		t.Fatal(err)
	}
	return fd
}

func (e *engine) load(fd int) uint32 {
	e.t.Helper()
	g, errno := e.Load([]int{fd}, nil, accel.EncodingGGML, accel.TargetCPU)
	e.want(0, errno, "load")
	return g
}

func (e *engine) context(fd int, input string) uint32 {
	e.t.Helper()
	c, errno := e.NewContext(e.load(fd))
	e.want(0, errno, "context")
	e.input(c, input)
	return c
}

func (e *engine) input(c uint32, input string) {
	e.t.Helper()
	e.want(0, e.SetInput(c, 0, accel.U8, dims(1), []byte(input)), "input")
}

func (e *engine) want(want, got accel.Errno, what string) {
	e.t.Helper()
	if got != want {
		e.t.Fatalf("%s: %d, want %d; log %q", what, got, want, e.log)
	}
}

// logged says that a line with the text has come since the last time.
func (e *engine) logged(text string) {
	e.t.Helper()
	for _, line := range e.log {
		if strings.Contains(line, text) {
			e.log = nil
			return
		}
	}
	e.t.Errorf("no line with %q in %q", text, e.log)
}

func (e *engine) output(c, index uint32) string {
	e.t.Helper()
	to := make([]byte, 1<<20)
	n, errno := e.Output(c, index, to)
	e.want(0, errno, "output")
	return string(to[:n])
}

func dims(list ...uint32) []byte {
	var b []byte
	for _, d := range list {
		b = binary.LittleEndian.AppendUint32(b, d)
	}
	return b
}

func TestCompute(t *testing.T) {
	e := start(t, "")
	fd := model(t, "echo")
	g, errno := e.Load([]int{fd}, []byte(`{"a":1}`), accel.EncodingONNX, accel.TargetAuto)
	e.want(0, errno, "load")
	c, errno := e.NewContext(g)
	e.want(0, errno, "context")
	e.want(0, e.SetInput(c, 0, accel.F32, dims(2, 0, 1<<31), []byte("hello, model")), "input")
	_, errno = e.Output(c, 0, nil)
	e.want(accel.ErrRuntime, errno, "output before compute")
	e.log = nil
	e.want(0, e.Compute(c), "compute")
	for i, want := range []string{"hello, model", `{"a":1}`, "1 [2 0 2147483648] 12 1137 3"} {
		if got := e.output(c, uint32(i)); got != want {
			t.Errorf("output %d is %q, want %q", i, got, want)
		}
	}
	short := []byte("xxxx")
	n, errno := e.Output(c, 0, short)
	if n != 12 || errno != accel.ErrTooLarge || string(short) != "xxxx" {
		t.Errorf("output into 4 bytes: %d, %d, %q", n, errno, short)
	}
	if len(e.log) != 0 {
		t.Errorf("log %q", e.log)
	}
	_, errno = e.Output(c, 9, short)
	e.want(accel.ErrInvalidArgument, errno, "output 9")
	e.logged("get_output: invalid argument: output 9")
}

func TestComputeSingle(t *testing.T) {
	e := start(t, "")
	c := e.context(model(t, "echo"), "abc")
	var text []byte
	for {
		errno := e.ComputeSingle(c)
		if errno == accel.ErrEndOfSequence {
			break
		}
		e.want(0, errno, "step")
		var b [8]byte
		n, errno := e.OutputSingle(c, 0, b[:])
		e.want(0, errno, "output")
		text = append(text, b[:n]...)
	}
	if string(text) != "abc" || len(e.log) != 0 {
		t.Errorf("text %q, log %q", text, e.log)
	}
	e.want(0, e.FinishSingle(c), "finish")
}

// The output that a guest reads first comes with the answer to its next compute:
// nobody is asked for it again.
func TestAhead(t *testing.T) {
	e := start(t, "bytes=64MiB")
	c := e.context(model(t, "echo"), "one")
	other, errno := e.NewContext(e.load(model(t, "echo")))
	e.want(0, errno, "context")
	e.input(other, "other")
	turn := func(context uint32, input string, short int) {
		t.Helper()
		e.input(context, input)
		e.want(0, e.Compute(context), "compute")
		if short > 0 {
			n, errno := e.Output(context, 0, make([]byte, short))
			if int(n) != len(input) || errno != accel.ErrTooLarge {
				t.Errorf("%d bytes of room: %d, %d", short, n, errno)
			}
		}
		for range 2 {
			if got := e.output(context, 0); got != input {
				t.Errorf("output %q, want %q", got, input)
			}
		}
		if got := e.output(context, 1); got != "" {
			t.Errorf("configuration %q", got)
		}
	}
	for range 3 {
		turn(c, "first", 0)
		turn(c, "second, longer", 3)
		turn(other, "of another", 0)
		turn(c, "", 0)
	}
	// An input takes the place of a large output that was not read.
	e.input(c, fmt.Sprintf("grow %d", 20<<20))
	e.want(0, e.Compute(c), "compute")
	large := make([]byte, 20<<20)
	n, errno := e.Output(c, 0, large)
	e.want(0, errno, "output")
	e.want(0, e.Compute(c), "compute")
	e.want(0, e.SetInput(c, 0, accel.U8, dims(1), large[:n]), "input")
	e.want(0, e.Compute(c), "compute")
	again := make([]byte, 20<<20)
	if n, errno = e.Output(c, 0, again); errno != 0 || !bytes.Equal(large[:n], again) {
		t.Errorf("%d bytes of output, %d, or others than of input", n, errno)
	}
	if len(e.log) != 0 {
		t.Errorf("log %q", e.log)
	}
	turn(c, "the last", 0)
	e.input(c, "dead")
	e.want(0, e.Compute(c), "compute")
	process := e.workers.Next()
	if err := process.Kill(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); process.Signal(unix.Signal(0)) == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the worker does not end")
		}
	}
	if got := e.output(c, 0); got != "dead" {
		t.Errorf("output %q", got)
	}
	_, errno = e.Output(c, 0, nil)
	e.want(accel.ErrRuntime, errno, "output that nobody has")
}

// A graph that is unloaded leaves its contexts readable.
func TestUnload(t *testing.T) {
	e := start(t, "contexts=1")
	g := e.load(model(t, "echo"))
	c, errno := e.NewContext(g)
	e.want(0, errno, "context")
	e.input(c, "x")
	e.want(0, e.Compute(c), "compute")
	_, errno = e.NewContext(g)
	e.want(accel.ErrTooLarge, errno, "second context")
	e.logged("run.runw.nn-limits: contexts")
	e.want(0, e.Unload(g), "unload")
	e.want(accel.ErrInvalidArgument, e.Unload(g), "unload again")
	if got := e.output(c, 0); got != "x" {
		t.Errorf("output %q", got)
	}
	e.want(accel.ErrRuntime, e.Compute(c), "compute")
	_, errno = e.NewContext(g)
	e.want(accel.ErrInvalidArgument, errno, "context of an unloaded graph")
	e.want(0, e.CloseContext(c), "close")
	e.want(accel.ErrInvalidArgument, e.CloseContext(c), "close again")
	_, errno = e.Output(c, 0, nil)
	e.want(accel.ErrInvalidArgument, errno, "output of a closed context")
	e.want(accel.ErrInvalidArgument, e.Compute(g), "a graph's number as a context's")
}

func TestBackendErrors(t *testing.T) {
	e := start(t, "time=200ms")
	echo := model(t, "echo")
	for _, row := range []struct {
		input string
		want  accel.Errno
		line  string
	}{
		{"full", accel.ErrContextFull, ""},
		{"long", accel.ErrPromptTooLong, "compute: prompt too long"},
		{"fail", accel.ErrRuntime, "compute: no reason"},
		{"slow", accel.ErrRuntime, "compute: runtime error: context deadline exceeded"},
	} {
		e.log = nil
		e.want(row.want, e.Compute(e.context(echo, row.input)), row.input)
		if row.line != "" {
			e.logged(row.line)
		} else if len(e.log) != 0 {
			t.Errorf("%s: log %q", row.input, e.log)
		}
	}
	for _, row := range []struct {
		encoding accel.Encoding
		target   accel.Target
		want     accel.Errno
		line     string
	}{
		{accel.EncodingPyTorch, accel.TargetCPU, accel.ErrInvalidEncoding, "load: invalid encoding: no backend for encoding 3"},
		{accel.EncodingGGML, accel.TargetTPU, accel.ErrUnsupportedOperation, "TPU"},
		{accel.EncodingGGML, 4, accel.ErrInvalidArgument, "target 4"},
	} {
		_, errno := e.Load([]int{echo}, nil, row.encoding, row.target)
		e.want(row.want, errno, row.line)
		e.logged(row.line)
	}
	_, errno := e.Load([]int{model(t, "no such word")}, nil, accel.EncodingGGML, accel.TargetCPU)
	e.want(accel.ErrInvalidEncoding, errno, "broken model")
	e.logged("load: test: invalid encoding: the model")
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	_, errno = e.Load([]int{int(null.Fd())}, nil, accel.EncodingGGML, accel.TargetCPU)
	e.want(accel.ErrInvalidArgument, errno, "a device")
	e.logged("no regular file")
}

func TestLines(t *testing.T) {
	e := start(t, "")
	c := e.context(model(t, "echo"), "log 3")
	e.want(0, e.Compute(c), "compute")
	if got := fmt.Sprint(e.log); got != "[line 0 line 1 line 2]" {
		t.Errorf("log %s", got)
	}
	e.log = nil
	e.input(c, "log 5000")
	e.want(0, e.Compute(c), "compute")
	if last := e.log[len(e.log)-1]; !strings.HasSuffix(last, " lines more") || len(e.log) > 400 {
		t.Errorf("%d lines, the last %q", len(e.log), last)
	}
	e.log = nil
	e.input(c, "lines")
	e.want(0, e.Compute(c), "compute")
	if got := fmt.Sprintf("%q", e.log); got != `["red �[31m and � two" "lines"]` {
		t.Errorf("log %s", got)
	}
}

// The worker is killed while it computes: an error for that call, its numbers
// are void, and the next load works and takes other numbers.
func TestCrash(t *testing.T) {
	e := start(t, "")
	echo := model(t, "echo")
	c := e.context(echo, "hang")
	process := e.workers.Next()
	killed := time.AfterFunc(100*time.Millisecond, func() { process.Kill() })
	defer killed.Stop()
	e.want(accel.ErrRuntime, e.Compute(c), "compute")
	e.logged("compute: it has ended")
	e.want(accel.ErrInvalidArgument, e.Compute(c), "compute without a worker")
	e.want(accel.ErrInvalidArgument, e.SetInput(c, 0, accel.U8, dims(1), []byte("x")), "input without a worker")
	next := e.context(echo, "works")
	e.logged("signal: killed")
	if next <= c {
		t.Errorf("context %d after %d", next, c)
	}
	e.want(accel.ErrInvalidArgument, e.Compute(c), "a context of the other worker")
	e.want(0, e.Compute(next), "compute")
	if got := e.output(next, 0); got != "works" {
		t.Errorf("output %q", got)
	}
}

// A worker that dies between two calls is noticed by the load that needs one.
func TestCrashIdle(t *testing.T) {
	e := start(t, "")
	echo := model(t, "echo")
	g := e.load(echo)
	if !e.Alive(g) || e.Alive(g+1) || e.Alive(0) {
		t.Error("only the graph is alive")
	}
	process := e.workers.Next()
	if err := process.Kill(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); e.Alive(g); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the worker does not end")
		}
	}
	if again := e.load(echo); again <= g {
		t.Errorf("graph %d after %d", again, g)
	}
	_, errno := e.Load([]int{model(t, "crash")}, nil, accel.EncodingGGML, accel.TargetCPU)
	e.want(accel.ErrRuntime, errno, "a model that crashes the worker")
	e.load(echo)
}

// A library that does not listen to the deadline loses its process.
func TestHang(t *testing.T) {
	e := start(t, "time=50ms")
	echo := model(t, "echo")
	c := e.context(echo, "hang")
	began := time.Now()
	e.want(accel.ErrRuntime, e.Compute(c), "compute")
	e.logged("compute: took longer than 50ms")
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it took %s", took)
	}
	e.want(accel.ErrInvalidArgument, e.Compute(c), "compute afterwards")
	e.load(echo)
	e.logged("exit status 1")
}
