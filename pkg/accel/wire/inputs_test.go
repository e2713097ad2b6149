package wire_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/runw/runw/pkg/accel"
	"github.com/runw/runw/pkg/accel/wire"
)

// numbers sets an input that waits if one like it was there before.
func (e *engine) numbers(c, index uint32, data []byte) {
	e.t.Helper()
	e.want(0, e.SetInput(c, index, accel.F32, dims(uint32(len(data))), data), "numbers")
}

func (e *engine) computed(c uint32, all string) {
	e.t.Helper()
	e.want(0, e.Compute(c), "compute")
	if got := e.output(c, 3); got != all {
		e.t.Errorf("inputs %q, want %q", got, all)
	}
}

// Inputs that wait reach compute, each as it was set, whatever comes between.
func TestInputs(t *testing.T) {
	e := start(t, "")
	c := e.context(model(t, "echo"), "first")
	other := e.context(model(t, "echo"), "other")
	for turn := range 4 {
		e.input(c, fmt.Sprint(turn))
		want := fmt.Sprint(turn)
		for i := range uint32(3) {
			data := fmt.Appendf(nil, "-%d%d--", turn, i)
			e.numbers(c, i+1, data)
			want += string(data)
			clear(data) // it is the guest's again
		}
		e.computed(c, want)
	}
	for range 2 {
		e.numbers(c, 1, []byte("1111"))
		e.numbers(other, 1, []byte("2222"))
	}
	for i := range 2 * 40 { // more than a message has room for
		e.numbers(c, 2, fmt.Appendf(nil, "%04d", i))
	}
	_, errno := e.Output(other, 0, nil)
	e.want(accel.ErrRuntime, errno, "output before compute")
	e.computed(other, "other2222")
	e.numbers(c, 2, []byte("last"))
	e.want(0, e.FinishSingle(c), "finish")
	e.numbers(c, 1, []byte("1234"))
	e.load(model(t, "echo"))
	e.computed(c, "31234last-32--")
	e.numbers(c, 1, []byte("gone"))
	e.want(0, e.CloseContext(c), "close")
	e.want(accel.ErrInvalidArgument, e.SetInput(c, 1, accel.F32, dims(4), []byte("gone")), "input of a closed context")
}

// Only an input that a worker would take waits for compute, which then is the one
// that hears of the worker's end.
func TestInputsWait(t *testing.T) {
	for _, row := range []struct {
		name  string
		kind  accel.TensorType
		index uint32
		dims  []byte
		data  string
		waits bool
	}{
		{"the same", accel.F32, 1, dims(2, 2), "abcd", true},
		{"another type", accel.I32, 1, dims(2, 2), "abcd", false},
		{"another input", accel.F32, 2, dims(2, 2), "abcd", false},
		{"other dimensions", accel.F32, 1, dims(2, 3), "abcd", false},
		{"fewer dimensions", accel.F32, 1, dims(2), "abcd", false},
		{"longer", accel.F32, 1, dims(2, 2), "abcde", false},
		{"bytes", accel.U8, 0, dims(1), "text", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			e := start(t, "")
			c := e.context(model(t, "echo"), "text")
			e.want(0, e.SetInput(c, 1, accel.F32, dims(2, 2), []byte("1234")), "input")
			process := e.workers.Next()
			if err := process.Kill(); err != nil {
				t.Fatal(err)
			}
			for row.waits && e.Hears() {
				time.Sleep(time.Millisecond)
			}
			want, then := accel.ErrRuntime, accel.ErrInvalidArgument
			if row.waits {
				want, then = 0, accel.ErrRuntime
			}
			e.want(want, e.SetInput(c, row.index, row.kind, row.dims, []byte(row.data)), "input")
			e.want(then, e.Compute(c), "compute")
			e.want(accel.ErrInvalidArgument, e.SetInput(c, row.index, row.kind, row.dims, []byte(row.data)), "input without a worker")
		})
	}
}

// An input that is refused after all: compute says so and does nothing, and the
// next one is refused itself.
func TestInputsRefused(t *testing.T) {
	e := start(t, "")
	c := e.context(model(t, "echo"), "text")
	e.numbers(c, 1, []byte("accept"))
	e.computed(c, "textaccept")
	e.numbers(c, 1, []byte("refuse"))
	e.want(accel.ErrInvalidArgument, e.Compute(c), "compute")
	e.logged("set_input: invalid argument: input 1 asks for it")
	e.numbers(c, 1, []byte("better"))
	e.computed(c, "textbetter")
	e.numbers(c, 1, []byte("refuse"))
	_, errno := e.Output(c, 0, make([]byte, 64))
	e.want(accel.ErrInvalidArgument, errno, "output")
	e.want(accel.ErrInvalidArgument, e.SetInput(c, 1, accel.F32, dims(6), []byte("refuse")), "input")
	e.computed(c, "textbetter")
}

// What is too large to stay in the segment does not wait.
func TestInputsLarge(t *testing.T) {
	e := start(t, "bytes=64MiB")
	c := e.context(model(t, "echo"), "")
	for turn := range 3 {
		var want []byte
		for i := range uint32(3) {
			data := bytes.Repeat([]byte{byte('a' + turn), byte('0' + i)}, 7<<19)
			e.numbers(c, i+1, data)
			want = append(want, data...)
		}
		e.want(0, e.Compute(c), "compute")
		to := make([]byte, len(want))
		n, errno := e.Output(c, 3, to)
		e.want(0, errno, "output")
		if int(n) != len(want) || !bytes.Equal(to, want) {
			t.Errorf("turn %d: %d bytes, or other ones", turn, n)
		}
	}
	if kept := e.SegmentBlocks(t) * 512; kept > 17<<20 {
		t.Errorf("the segment keeps %d bytes", kept)
	}
}

// A guest with countless contexts does not make the engine grow.
func TestInputsKnown(t *testing.T) {
	e := start(t, "contexts=200")
	g := e.load(model(t, "echo"))
	for range 200 {
		c, errno := e.NewContext(g)
		e.want(0, errno, "context")
		e.numbers(c, 1, []byte("1234"))
		if n := e.KnownInputs(); n > wire.MaxKnown {
			t.Fatalf("%d inputs are kept", n)
		}
	}
}
