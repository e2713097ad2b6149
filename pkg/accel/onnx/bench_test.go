package onnx

import (
	"context"
	"fmt"
	"testing"

	"github.com/runw/runw/pkg/accel"
	"github.com/runw/runw/pkg/accel/onnx/model"
)

// BenchmarkDense is what a call costs in this process: the bench of inference
// has the rest of the way from a guest.
func BenchmarkDense(b *testing.B) {
	backend, _ := open(b, accel.Grants{})
	graph := load(b, backend, model.Dense(8, 512))
	for _, rows := range []int{1, 32} {
		b.Run(fmt.Sprintf("rows=%d", rows), func(b *testing.B) {
			x := newContext(b, graph)
			in := make([]float32, 512*rows)
			for i := range in {
				in[i] = float32(i%17) - 8
			}
			data := model.Floats(in...)
			for b.Loop() {
				set(b, x, 0, accel.F32, []uint32{uint32(rows), 512}, data)
				if err := x.Compute(context.Background()); err != nil {
					b.Fatal(err)
				}
				output(b, x, 0)
			}
		})
	}
}
