package wire_test

import (
	"testing"

	"github.com/runw/runw/pkg/accel"
	"github.com/runw/runw/pkg/accel/acceltest"
	"github.com/runw/runw/pkg/accel/wire"
)

// benchContext is a context of a worker process with an input.
func benchContext(b *testing.B, input []byte) (*wire.Client, uint32) {
	b.Helper()
	fd, _ := acceltest.Start(b, wire.DefaultLimits())
	c := wire.NewClient(fd, func(line string) { b.Error(line) })
	b.Cleanup(func() { c.Close() })
	g, errno := c.Load([]int{memory(b, []byte("echo"))}, nil, accel.EncodingGGML, accel.TargetCPU)
	if errno != 0 {
		b.Fatal(errno)
	}
	ctx, errno := c.NewContext(g)
	if errno != 0 {
		b.Fatal(errno)
	}
	if errno := c.SetInput(ctx, 0, accel.U8, dims(1), input); errno != 0 {
		b.Fatal(errno)
	}
	return c, ctx
}

// BenchmarkStep is what a token costs beside its computation: two calls.
func BenchmarkStep(b *testing.B) {
	c, ctx := benchContext(b, make([]byte, 1<<20))
	to := make([]byte, 64)
	for b.Loop() {
		switch errno := c.ComputeSingle(ctx); errno {
		case accel.ErrEndOfSequence: // once in a million
			continue
		case 0:
		default:
			b.Fatal(errno)
		}
		if _, errno := c.OutputSingle(ctx, 0, to); errno != 0 {
			b.Fatal(errno)
		}
	}
}

// BenchmarkTensor is an image's way to the worker and back: 224 by 224 by 3 F32.
func BenchmarkTensor(b *testing.B) {
	data := make([]byte, 224*224*3*4)
	c, ctx := benchContext(b, data)
	b.SetBytes(int64(2 * len(data)))
	for b.Loop() {
		if errno := c.SetInput(ctx, 0, accel.F32, dims(1, 3, 224, 224), data); errno != 0 {
			b.Fatal(errno)
		}
		if errno := c.Compute(ctx); errno != 0 {
			b.Fatal(errno)
		}
		if _, errno := c.Output(ctx, 0, data); errno != 0 {
			b.Fatal(errno)
		}
	}
}
