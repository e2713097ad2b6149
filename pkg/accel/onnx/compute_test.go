package onnx

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/runw/runw/pkg/accel"
	"github.com/runw/runw/pkg/accel/onnx/model"
)

func TestClassifier(t *testing.T) {
	b, _ := open(t, accel.Grants{})
	x := newContext(t, load(t, b, model.Classifier()))
	rows := []struct {
		features      [4]float32
		logits        [3]float32
		probabilities [3]float32 // rounded
		label         int64
	}{
		{[4]float32{1, 0, 0, 0}, [3]float32{1, 1, -2}, [3]float32{0.4879, 0.4879, 0.0243}, 0},
		{[4]float32{0, 0, 1, 0}, [3]float32{0, 4, -3}, [3]float32{0.0180, 0.9811, 0.0009}, 1},
		{[4]float32{0, 0, 0, 200}, [3]float32{200, 1, 199}, [3]float32{0.7311, 0, 0.2689}, 0},
		{[4]float32{-4, 2, 0, 0}, [3]float32{0, 3, 3}, [3]float32{0.0243, 0.4879, 0.4879}, 1},
	}
	// Batches of each size: the first dimension is the caller's.
	for n := range len(rows) + 1 {
		var in []float32
		var logits []float32
		for _, row := range rows[:n] {
			in = append(in, row.features[:]...)
			logits = append(logits, row.logits[:]...)
		}
		set(t, x, 0, accel.F32, []uint32{uint32(n), 4}, model.Floats(in...))
		compute(t, x)
		if got := floats(output(t, x, 1)); !slices.Equal(got, logits) {
			t.Errorf("batch of %d: logits %v, want %v", n, got, logits)
		}
		probabilities, labels := floats(output(t, x, 0)), output(t, x, 2)
		if len(probabilities) != 3*n || len(labels) != 8*n {
			t.Fatalf("batch of %d: %d probabilities, %d bytes of labels", n, len(probabilities), len(labels))
		}
		for i, row := range rows[:n] {
			for class, want := range row.probabilities {
				if got := probabilities[3*i+class]; math.Abs(float64(got-want)) > 0.00005 {
					t.Errorf("row %d: probability %d is %v, want %v", i, class, got, want)
				}
			}
			if got := int64(binary.LittleEndian.Uint64(labels[8*i:])); got != row.label {
				t.Errorf("row %d: label %d, want %d", i, got, row.label)
			}
		}
	}
}

// All six types go in and come out, by index.
func TestIdentity(t *testing.T) {
	b, _ := open(t, accel.Grants{})
	x := newContext(t, load(t, b, model.Identity()))
	for _, dims := range [][]uint32{{2, 3}, {1, 1}, {0, 5}, {3, 0}} {
		var want [6][]byte
		for i := range want {
			kind := accel.TensorType(i)
			_, width, _ := element(kind)
			for n := range int(dims[0]*dims[1]) * width {
				want[i] = append(want[i], byte(7*n+i))
			}
			set(t, x, uint32(i), kind, dims, want[i])
		}
		compute(t, x)
		for i := range want {
			if got := output(t, x, uint32(i)); !bytes.Equal(got, want[i]) {
				t.Errorf("%v: output %d is %v, want %v", dims, i, got, want[i])
			}
		}
	}
}

// An input that is set again takes the memory of the one before, but not that of
// an output, which stays readable.
func TestSetAgain(t *testing.T) {
	b, _ := open(t, accel.Grants{})
	x, y := vector("x", model.Float), vector("y", model.Float)
	passed := one("Neg", x, y)
	passed.Outputs = []model.Value{x}
	for _, row := range []struct {
		name  string
		graph model.Graph
		sign  float32
	}{
		{"computed", one("Neg", x, y), -1},
		{"the input itself", passed, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := newContext(t, load(t, b, row.graph.Model()))
			var before []byte
			for turn := range 4 {
				v := float32(turn + 1)
				set(t, c, 0, accel.F32, []uint32{4}, model.Floats(v, 1, 2, 3))
				if turn > 0 && !bytes.Equal(output(t, c, 0), before) {
					t.Errorf("turn %d: the next input changes the output", turn)
				}
				compute(t, c)
				before = bytes.Clone(output(t, c, 0))
				if want := model.Floats(row.sign*v, row.sign, row.sign*2, row.sign*3); !bytes.Equal(before, want) {
					t.Errorf("turn %d: output %v, want %v", turn, before, want)
				}
			}
		})
	}
}

func TestCast(t *testing.T) {
	b, _ := open(t, accel.Grants{})
	x := newContext(t, load(t, b, model.Cast()))
	set(t, x, 0, accel.F32, []uint32{3}, model.Floats(1, 2.5, 200))
	compute(t, x)
	little := binary.LittleEndian
	var want [6][]byte
	want[0] = []byte{0x00, 0x3c, 0x00, 0x41, 0x40, 0x5a} // 1, 2.5, 200 in half precision
	want[1] = model.Floats(1, 2.5, 200)
	for _, v := range []float64{1, 2.5, 200} {
		want[2] = little.AppendUint64(want[2], math.Float64bits(v))
		want[3] = append(want[3], byte(v))
		want[4] = little.AppendUint32(want[4], uint32(v))
		want[5] = little.AppendUint64(want[5], uint64(v))
	}
	for i := range want {
		if got := output(t, x, uint32(i)); !bytes.Equal(got, want[i]) {
			t.Errorf("output %d is %v, want %v", i, got, want[i])
		}
	}
}

func TestScalar(t *testing.T) {
	b, _ := open(t, accel.Grants{})
	x := newContext(t, load(t, b, model.Scalar()))
	set(t, x, 0, accel.F32, nil, model.Floats(1.5))
	set(t, x, 1, accel.F32, []uint32{}, model.Floats(2.25))
	compute(t, x)
	if got := floats(output(t, x, 0)); !slices.Equal(got, []float32{3.75}) {
		t.Errorf("sum %v", got)
	}
	// The input stays for the next run.
	set(t, x, 1, accel.F32, nil, model.Floats(-1.5))
	compute(t, x)
	if got := floats(output(t, x, 0)); !slices.Equal(got, []float32{0}) {
		t.Errorf("sum %v", got)
	}
}

// Several sessions and contexts at once keep their inputs and outputs apart.
func TestContexts(t *testing.T) {
	b, _ := open(t, accel.Grants{})
	var all []accel.Context
	for range 3 {
		g := load(t, b, model.Scalar())
		for range 3 {
			all = append(all, newContext(t, g))
		}
	}
	for i, x := range all {
		set(t, x, 0, accel.F32, nil, model.Floats(float32(i)))
		set(t, x, 1, accel.F32, nil, model.Floats(100))
	}
	for _, x := range all {
		compute(t, x)
	}
	for i, x := range all {
		if got := floats(output(t, x, 0)); got[0] != float32(100+i) {
			t.Errorf("context %d: %v", i, got)
		}
	}
}

func TestClose(t *testing.T) {
	b, _ := open(t, accel.Grants{})
	g, err := b.Load(context.Background(), accel.Model{Files: files(t, model.Scalar())})
	if err != nil {
		t.Fatal(err)
	}
	x, other := newContext(t, g), newContext(t, g)
	set(t, x, 0, accel.F32, nil, model.Floats(1))
	set(t, x, 1, accel.F32, nil, model.Floats(2))
	compute(t, x)
	g.Close()
	if got := floats(output(t, x, 0)); got[0] != 3 {
		t.Errorf("after unload: %v", got)
	}
	if err := x.Compute(context.Background()); !errors.Is(err, accel.ErrRuntime) {
		t.Errorf("compute after unload: %v", err)
	}
	if _, err := g.NewContext(); !errors.Is(err, accel.ErrInvalidArgument) {
		t.Errorf("context after unload: %v", err)
	}
	x.Close()
	if g := g.(*graph); g.session == 0 {
		t.Error("freed while a context is open")
	}
	other.Close()
	if g := g.(*graph); g.session != 0 || g.mapping != nil {
		t.Error("not freed with the last context")
	}
	x.Close()
	if err := x.Compute(context.Background()); !errors.Is(err, accel.ErrRuntime) {
		t.Errorf("compute after close: %v", err)
	}
	if _, err := x.Output(0); !errors.Is(err, accel.ErrInvalidArgument) {
		t.Errorf("output after close: %v", err)
	}
}

// The same numbers, bit by bit, from each run and from each way that the weights
// can take to the library.
func TestDense(t *testing.T) {
	b, _ := open(t, accel.Grants{})
	data := model.Dense(4, 256)
	in := make([]float32, 8*256)
	for i := range in {
		in[i] = float32(i%17) - 8
	}
	run := func(data []byte, config string, inPlace int) []byte {
		g, err := b.Load(context.Background(), accel.Model{Files: files(t, data), Config: []byte(config)})
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		if got := len(g.(*graph).weights); got != inPlace {
			t.Errorf("%d weights are used in place, want %d", got, inPlace)
		}
		x := newContext(t, g)
		defer x.Close()
		set(t, x, 0, accel.F32, []uint32{8, 256}, model.Floats(in...))
		compute(t, x)
		first := output(t, x, 0)
		compute(t, x)
		if !bytes.Equal(first, output(t, x, 0)) {
			t.Error("two runs differ")
		}
		return first
	}
	want := run(data, "", 4)
	if slices.Max(floats(want)) == 0 {
		t.Error("all is zero")
	}
	if !bytes.Equal(run(data, `{"intra-op-threads":1}`, 4), want) {
		t.Error("one thread differs")
	}
	// Three bytes in front put each weight at an odd address: the library copies it.
	if !bytes.Equal(run(append([]byte{3<<3 | wireBytes, 1, '.'}, data...), "", 0), want) {
		t.Error("copied weights differ")
	}
	near := floats(run(data, `{"prepack":false}`, 4))
	for i, v := range floats(want) {
		if math.Abs(float64(v-near[i])) > 1e-5 {
			t.Fatalf("without prepacking: %v, not %v", near[i], v)
		}
	}
}

// Nothing in an image is of no class, for there are no biases; anything is of some.
func TestImage(t *testing.T) {
	b, _ := open(t, accel.Grants{})
	x := newContext(t, load(t, b, model.Image()))
	for _, step := range []float32{0, 1} {
		in := make([]float32, model.ImageInput)
		for i := range in {
			in[i] = step * (float32(i%17) - 8) / 8
		}
		set(t, x, 0, accel.F32, []uint32{1, model.ImageInput}, model.Floats(in...))
		compute(t, x)
		classes := floats(output(t, x, 0))
		if len(classes) != 1000 {
			t.Fatalf("%d classes", len(classes))
		}
		var sum float64
		for _, p := range classes {
			sum += float64(p)
		}
		if least, most := slices.Min(classes), slices.Max(classes); math.Abs(sum-1) > 1e-4 || (least == most) != (step == 0) {
			t.Errorf("image of steps of %v: classes from %v to %v, %v together", step, least, most, sum)
		}
	}
}

func TestCancel(t *testing.T) {
	b, _ := open(t, accel.Grants{})
	x := newContext(t, load(t, b, model.Endless()))
	turns := func(n uint64) {
		set(t, x, 0, accel.F32, nil, model.Floats(1))
		set(t, x, 1, accel.I64, nil, binary.LittleEndian.AppendUint64(nil, n))
	}
	turns(1 << 40)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	err := x.Compute(ctx)
	if !errors.Is(err, accel.ErrRuntime) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("an endless computation: %v", err)
	}
	if _, err := x.Output(0); !errors.Is(err, accel.ErrRuntime) {
		t.Errorf("output of a stopped computation: %v", err)
	}
	if err := x.Compute(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with a context that has ended: %v", err)
	}
	turns(10)
	compute(t, x)
	if got := floats(output(t, x, 0)); got[0] != 11 {
		t.Errorf("afterwards: %v", got)
	}
}

// A load is told to stop too.
func TestCancelLoad(t *testing.T) {
	b, _ := open(t, accel.Grants{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := b.Load(ctx, accel.Model{Files: files(t, model.Scalar())}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	big := files(t, model.Dense(12, 1024))
	ctx, cancel = context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	if _, err := b.Load(ctx, accel.Model{Files: big}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a load of 48 MB within a millisecond: %v", err)
	}
}

func TestNoSteps(t *testing.T) {
	b, _ := open(t, accel.Grants{})
	x := newContext(t, load(t, b, model.Scalar()))
	_, err := x.OutputSingle(0)
	for _, err := range []error{x.ComputeSingle(context.Background()), err, x.FinishSingle()} {
		if !errors.Is(err, accel.ErrUnsupportedOperation) {
			t.Error(err)
		}
	}
}

func TestInputErrors(t *testing.T) {
	b, _ := open(t, accel.Grants{})
	x := newContext(t, load(t, b, model.Classifier()))
	if err := x.Compute(context.Background()); !errors.Is(err, accel.ErrInvalidArgument) || !strings.Contains(fmt.Sprint(err), `input 0, "x", was not set`) {
		t.Errorf("without input: %v", err)
	}
	if _, err := x.Output(0); !errors.Is(err, accel.ErrRuntime) {
		t.Errorf("output before compute: %v", err)
	}
	if _, err := x.Output(3); !errors.Is(err, accel.ErrInvalidArgument) {
		t.Errorf("output 3 of 3: %v", err)
	}
	row := model.Floats(1, 0, 0, 0)
	tests := []struct {
		name  string
		index uint32
		t     accel.Tensor
		text  string
	}{
		{"no such input", 1, accel.Tensor{Type: accel.F32, Dims: []uint32{1, 4}, Data: row}, "input 1 of a model that has 1"},
		{"the last index", math.MaxUint32, accel.Tensor{Type: accel.F32, Dims: []uint32{1, 4}, Data: row}, "of a model that has 1"},
		{"no such type", 0, accel.Tensor{Type: 6, Dims: []uint32{1, 4}, Data: row}, "tensor type 6"},
		{"another type", 0, accel.Tensor{Type: accel.I32, Dims: []uint32{1, 4}, Data: row}, `"x" takes float, not int32`},
		{"too little data", 0, accel.Tensor{Type: accel.F32, Dims: []uint32{2, 4}, Data: row}, "are 32 bytes, the data is 16"},
		{"too much data", 0, accel.Tensor{Type: accel.F32, Dims: []uint32{1, 4}, Data: append(row, 0)}, "are 16 bytes, the data is 17"},
		{"no data", 0, accel.Tensor{Type: accel.F32, Dims: []uint32{1, 4}}, "are 16 bytes, the data is 0"},
		{"overflow to the right size", 0, accel.Tensor{Type: accel.F32, Dims: []uint32{1 << 31, 1 << 31, 4}, Data: row}, "more than any memory"},
		{"overflow to zero", 0, accel.Tensor{Type: accel.F32, Dims: []uint32{1 << 31, 1 << 31}}, "more than any memory"},
		{"overflow beside zero", 0, accel.Tensor{Type: accel.F32, Dims: []uint32{0, math.MaxUint32, math.MaxUint32}}, "more than any memory"},
		{"large", 0, accel.Tensor{Type: accel.F32, Dims: []uint32{math.MaxUint32, 4}, Data: row}, "the data is 16"},
		{"another rank", 0, accel.Tensor{Type: accel.F32, Dims: []uint32{4}, Data: row}, "takes 2 dimensions, not [4]"},
		{"scalar", 0, accel.Tensor{Type: accel.F32, Data: row[:4]}, "takes 2 dimensions"},
		{"another dimension", 0, accel.Tensor{Type: accel.F32, Dims: []uint32{4, 1}, Data: row}, "takes dimensions [-1 4]"},
		{"many dimensions", 0, accel.Tensor{Type: accel.F32, Dims: slices.Repeat([]uint32{1}, 65), Data: row[:4]}, "65 dimensions"},
	}
	for _, test := range tests {
		err := x.SetInput(test.index, test.t)
		if !errors.Is(err, accel.ErrInvalidArgument) || !strings.Contains(fmt.Sprint(err), test.text) {
			t.Errorf("%s: %v, want %q", test.name, err, test.text)
		}
	}
	set(t, x, 0, accel.F32, []uint32{1, 4}, row)
	compute(t, x)
	if got := floats(output(t, x, 1)); !slices.Equal(got, []float32{1, 1, -2}) {
		t.Errorf("afterwards: %v", got)
	}
}
