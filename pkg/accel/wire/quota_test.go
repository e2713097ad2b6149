package wire_test

import (
	"bytes"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/runw/runw/pkg/accel"
	"github.com/runw/runw/pkg/accel/acceltest"
	"github.com/runw/runw/pkg/accel/wire"
	"golang.org/x/sys/unix"
)

// Ten thousand loads without an unload: the quota holds, and nothing grows.
func TestQuotaGraphs(t *testing.T) {
	e := start(t, "graphs=5")
	echo := model(t, "echo")
	loaded := 0
	var pid, after int
	for i := range 10_000 {
		_, errno := e.Load([]int{echo}, nil, accel.EncodingGGML, accel.TargetCPU)
		switch errno {
		case 0:
			loaded++
		case accel.ErrTooLarge:
		default:
			t.Fatalf("load %d: %d", i, errno)
		}
		if i == 100 {
			pid = e.workers.Next().Pid
			after = workerDescriptors(t, pid)
		}
		e.log = e.log[:min(len(e.log), 1)]
	}
	e.logged("load: too large: 5 graphs are loaded, as many as are allowed (run.runw.nn-limits: graphs)")
	if loaded != 5 {
		t.Errorf("%d loads succeeded", loaded)
	}
	if n := workerDescriptors(t, pid); n != after {
		t.Errorf("the worker has %d descriptors, %d before", n, after)
	}
}

func workerDescriptors(t *testing.T, pid int) int {
	t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestQuotaBytes(t *testing.T) {
	e := start(t, "bytes=64KiB")
	big := memory(t, append([]byte("echo\n"), make([]byte, 40<<10)...))
	g := e.load(big)
	_, errno := e.Load([]int{big}, nil, accel.EncodingGGML, accel.TargetCPU)
	e.want(accel.ErrTooLarge, errno, "another model of 40 KiB")
	e.logged("run.runw.nn-limits: bytes")
	c, errno := e.NewContext(g)
	e.want(0, errno, "context")
	half := make([]byte, 20<<10)
	e.want(0, e.SetInput(c, 0, accel.U8, nil, half), "input")
	e.want(0, e.SetInput(c, 0, accel.U8, nil, half), "the same input again")
	e.want(accel.ErrTooLarge, e.SetInput(c, 1, accel.U8, nil, half), "another input")
	e.want(accel.ErrTooLarge, e.SetInput(c, 0, accel.U8, nil, make([]byte, 128<<10)), "an input larger than the segment")
	e.want(0, e.Unload(g), "unload")
	e.want(accel.ErrTooLarge, e.SetInput(c, 1, accel.U8, nil, half), "another input: the context keeps the graph")
	e.want(0, e.CloseContext(c), "close")
	c = e.context(model(t, "echo"), "grow 70000")
	e.want(0, e.Compute(c), "compute")
	e.log = nil
	_, errno = e.Output(c, 0, make([]byte, 1<<20))
	e.want(accel.ErrTooLarge, errno, "an output larger than allowed")
	e.logged("get_output: too large: an output of 70000 bytes")
}

// Large tensors arrive whole, and their memory is given back.
func TestSegment(t *testing.T) {
	e := start(t, "bytes=128MiB")
	c := e.context(model(t, "echo"), "")
	data := bytes.Repeat([]byte("0123456789abcdef"), 5<<20/2)
	e.want(0, e.SetInput(c, 0, accel.U8, dims(1), data), "input")
	e.want(0, e.Compute(c), "compute")
	to := make([]byte, len(data))
	n, errno := e.Output(c, 0, to)
	e.want(0, errno, "output")
	if int(n) != len(data) || !bytes.Equal(to, data) {
		t.Errorf("%d bytes, or other ones", n)
	}
	if kept := e.SegmentBlocks(t) * 512; kept > 17<<20 {
		t.Errorf("the segment keeps %d bytes", kept)
	}
}

// The arguments that the guest alone decides, and those that no guest can send.
func TestClientBounds(t *testing.T) {
	e := start(t, "")
	echo := model(t, "echo")
	c := e.context(echo, "x")
	e.want(accel.ErrInvalidArgument, e.SetInput(c, 0, accel.U8, make([]byte, 4*65), nil), "65 dimensions")
	e.want(accel.ErrInvalidArgument, e.SetInput(c, 0, 6, nil, nil), "tensor type 6")
	e.want(accel.ErrInvalidArgument, e.SetInput(c, 8, accel.U8, nil, nil), "input 8")
	_, errno := e.Load([]int{echo}, make([]byte, wire.MaxConfig+1), accel.EncodingGGML, accel.TargetCPU)
	e.want(accel.ErrTooLarge, errno, "a configuration over its bound")
	for _, files := range [][]int{nil, {echo, echo, echo, echo, echo}, {echo, echo}} {
		_, errno := e.Load(files, nil, accel.EncodingGGML, accel.TargetCPU)
		e.want(accel.ErrInvalidArgument, errno, fmt.Sprint(len(files), " files"))
	}
	for _, n := range []uint32{0, 1 << 31, 1<<32 - 1} {
		e.want(accel.ErrInvalidArgument, e.Compute(n), "no number")
		e.want(accel.ErrInvalidArgument, e.Unload(n), "no number")
	}
	e.want(0, e.Compute(c), "compute after all that")
}

// Without a supervisor each load is an error, and says so.
func TestNoSupervisor(t *testing.T) {
	a, b, err := wire.Socketpair()
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Close(b); err != nil {
		t.Fatal(err)
	}
	e := &engine{t: t}
	e.Client = wire.NewClient(a, func(line string) { e.log = append(e.log, line) })
	defer e.Close()
	for range 2 {
		_, errno := e.Load([]int{0}, nil, accel.EncodingGGML, accel.TargetCPU)
		e.want(accel.ErrRuntime, errno, "load")
		e.logged("start: the process for inference is gone: it has ended")
	}
}

// The engine goes while a worker computes: both processes end.
func TestEngineGone(t *testing.T) {
	fd, workers := acceltest.Start(t, limits(t, ""))
	client := wire.NewClient(fd, func(string) {})
	e := &engine{Client: client, t: t, workers: workers}
	e.context(model(t, "echo"), "x")
	process := workers.Next()
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); unix.Kill(process.Pid, 0) == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the worker lives on")
		}
	}
}
