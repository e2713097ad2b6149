package onnx

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/rand"
	"os"
	"slices"
	"testing"

	"github.com/runw/runw/pkg/accel"
	"github.com/runw/runw/pkg/accel/onnx/model"
)

// FuzzTensor gives the library tensors of any type, dimensions and length: what
// it takes, it gives back as it was.
func FuzzTensor(f *testing.F) {
	b, _ := open(f, accel.Grants{})
	g := load(f, b, model.Identity())
	x := newContext(f, g)
	for i := range model.Types {
		_, width, _ := element(accel.TensorType(i))
		set(f, x, uint32(i), accel.TensorType(i), []uint32{1, 1}, make([]byte, width))
	}
	le := binary.LittleEndian
	two := func(a, b uint32) []byte { return le.AppendUint32(le.AppendUint32(nil, a), b) }
	f.Add(uint32(0), uint8(0), two(1, 1), []byte{1, 2})
	f.Add(uint32(1), uint8(1), two(2, 2), make([]byte, 16))
	f.Add(uint32(5), uint8(5), two(1, 2), make([]byte, 16))
	f.Add(uint32(3), uint8(3), two(1<<31, 1<<31), []byte{})
	f.Add(uint32(3), uint8(3), two(0, 1<<32-1), []byte{})
	f.Add(uint32(2), uint8(2), append(two(1<<31, 1<<30), two(8, 1)...), make([]byte, 8))
	f.Add(uint32(9), uint8(77), []byte{}, []byte{1})
	f.Fuzz(func(t *testing.T, index uint32, kind uint8, shape, data []byte) {
		var dims []uint32
		for ; len(shape) >= 4; shape = shape[4:] {
			dims = append(dims, le.Uint32(shape))
		}
		if err := x.SetInput(index, accel.Tensor{Type: accel.TensorType(kind), Dims: dims, Data: data}); err != nil {
			if !errors.Is(err, accel.ErrInvalidArgument) {
				t.Fatal(err)
			}
			return
		}
		if err := x.Compute(context.Background()); err != nil {
			t.Fatal(err)
		}
		if got, err := x.Output(index); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%v, %v, want %v", got, err, data)
		}
	})
}

// FuzzInspect reads models: what it lets pass has one graph and nothing outside of
// itself, and the parts of a model are no longer than the whole.
func FuzzInspect(f *testing.F) {
	for _, file := range model.Files() {
		if len(file.Data) < 1<<16 {
			f.Add(file.Data)
		}
	}
	f.Add(model.Dense(1, 64))
	f.Add(model.Graph{Weights: []model.Weight{{Name: "w", Type: model.Float, Dims: []int64{4}, External: "/etc/passwd"}}}.Model())
	f.Fuzz(func(t *testing.T, data []byte) {
		rest, weights, err := split(data)
		if err != nil {
			if inspect(data) == nil {
				t.Fatalf("%v, but inspected", err)
			}
			return
		}
		total := 0
		for _, w := range weights {
			if size, ok := product(w.dims, weightWidths[w.element]); !ok || size != len(w.data) || w.name == "" || !w.aligned() {
				t.Fatalf("weight %q: %d bytes for %v", w.name, len(w.data), w.dims)
			}
			total += len(w.data)
		}
		// Lengths can shrink when they are written anew, never grow.
		if len(rest)+total > len(data) {
			t.Fatalf("%d and %d bytes of %d", len(rest), total, len(data))
		}
		if (inspect(rest) == nil) != (inspect(data) == nil) {
			t.Fatalf("without weights: %v, with: %v", inspect(rest), inspect(data))
		}
	})
}

// FuzzModel gives the library itself what inspection lets pass. The input says how a
// good model is spoiled and is no model: the library's code, which Go's fuzzer does not
// see, would keep it busy with making inputs smaller.
func FuzzModel(f *testing.F) {
	b, _ := open(f, accel.Grants{})
	good := model.Files()[:5]
	for i := range good {
		f.Add(uint8(i), int64(i))
	}
	f.Fuzz(func(t *testing.T, which uint8, seed int64) {
		r := rand.New(rand.NewSource(seed))
		data := bytes.Clone(good[int(which)%len(good)].Data)
		for range 1 + r.Intn(4) {
			at := r.Intn(len(data))
			switch r.Intn(4) {
			case 0: // a part twice
				data = slices.Insert(data, at, data[at:min(at+1+r.Intn(40), len(data))]...)
			case 1: // a part less
				data = slices.Delete(data, at, min(at+1+r.Intn(40), len(data)))
			default:
				data[at] = byte(r.Intn(256))
			}
			if len(data) == 0 {
				return
			}
		}
		m := file(t, data)
		defer m.Close()
		g, err := b.Load(context.Background(), accel.Model{Files: []*os.File{m}, Config: []byte(`{"intra-op-threads":1}`)})
		if err != nil {
			var code accel.Errno
			if !errors.As(err, &code) {
				t.Fatal(err)
			}
			return
		}
		g.Close()
	})
}
