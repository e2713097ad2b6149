package gguf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"testing"
)

func content(t testing.TB, f File) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := f.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func check(b []byte) error { return Check(bytes.NewReader(b), int64(len(b))) }

// tiny has one of everything.
func tiny() File {
	row := func() []byte { return make([]byte, 4*64) }
	return File{
		Pairs: []Pair{
			{"general.architecture", "llama"}, {"a.bool", true}, {"a.number", uint32(7)}, {"a.float", float32(1)},
			{"tokenizer.ggml.tokens", []string{"a", "b"}}, {"tokenizer.ggml.scores", []float32{0, 0}}, {"tokenizer.ggml.token_type", []int32{1, 1}},
		},
		Tensors: []Tensor{
			{"a.weight", F32, []uint64{32, 2}, row},
			{"b.weight", Q8, []uint64{32, 1}, func() []byte { return make([]byte, 34) }},
		},
	}
}

func TestModels(t *testing.T) {
	small, err := Successor(Small)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Successor(Small)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := content(t, small), content(t, again); !bytes.Equal(a, b) {
		t.Error("two of one kind differ")
	} else if err := check(a); err != nil {
		t.Error(err)
	}
	shape := Architecture{Dim: 64, Layers: 1, Heads: 4, KVHeads: 2, FF: 32, Context: 32, Type: Q8}
	one, err := Random(shape, 1)
	if err != nil {
		t.Fatal(err)
	}
	two, err := Random(shape, 2)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := content(t, one), content(t, two); bytes.Equal(a, b) || len(a) != len(b) {
		t.Error("two seeds give one model")
	} else if err := check(a); err != nil {
		t.Error(err)
	}
	if _, err := Random(Architecture{Dim: 33, Heads: 1, KVHeads: 1, FF: 32}, 1); err == nil {
		t.Error("a dimension of 33")
	}
	if _, err := Successor(shape); err == nil {
		t.Error("a dimension less than the vocabulary")
	}
}

func TestHalf(t *testing.T) {
	for v, want := range map[float32]uint16{0: 0, 1: 0x3c00, -2: 0xc000, 4: 0x4400, 65536: 0x7c00, 1e-9: 0} {
		if got := half(v); got != want {
			t.Errorf("half of %g is %#x, want %#x", v, got, want)
		}
	}
}

func TestCheck(t *testing.T) {
	good := content(t, tiny())
	if err := check(good); err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	at := func(text string) int { // where the bytes after a name begin
		i := bytes.Index(good, []byte(text))
		if i < 0 {
			t.Fatalf("no %q", text)
		}
		return i + len(text)
	}
	put32 := func(offset int, v uint32) func([]byte) { return func(b []byte) { le.PutUint32(b[offset:], v) } }
	put64 := func(offset int, v uint64) func([]byte) { return func(b []byte) { le.PutUint64(b[offset:], v) } }
	tensor := at("a.weight") // dimensions (4), 2 of 8, type (4), offset (8)
	for _, c := range []struct {
		name   string
		change func([]byte)
	}{
		{"magic", func(b []byte) { b[0] = 'g' }},
		{"version", put32(4, 1)},
		{"byte order", put32(4, 3<<24)},
		{"a count of tensors", put64(8, math.MaxInt64)},
		{"a count of pairs", put64(16, 1<<40)},
		{"more pairs than there are", put64(16, 8)},
		{"fewer pairs than there are", put64(16, 6)},
		{"a key's length", put64(24, 1<<62)},
		{"an empty key", put64(24, 0)},
		{"a type", put32(at("a.bool"), 13)},
		{"a string's length", put64(at("general.architecture")+4, math.MaxUint64)},
		{"an array of arrays", put32(at("tokenizer.ggml.scores")+4, 9)},
		{"an array's count", put64(at("tokenizer.ggml.scores")+8, 1<<61)},
		{"a count of strings", put64(at("tokenizer.ggml.tokens")+8, 1<<61)},
		{"tokens of another type", put32(at("tokenizer.ggml.token_type")+4, 4)},
		{"no dimension", put32(tensor, 0)},
		{"five dimensions", put32(tensor, 5)},
		{"a dimension of 0", put64(tensor+4, 0)},
		{"a dimension too large", put64(tensor+4, 1<<63)},
		{"dimensions whose product wraps", func(b []byte) { le.PutUint64(b[tensor+4:], 1<<33); le.PutUint64(b[tensor+12:], 1<<33) }},
		{"more than the file holds", put64(tensor+12, 3)},
		{"a removed type", put32(tensor+20, 4)},
		{"rows of no whole block", func(b []byte) { le.PutUint32(b[tensor+20:], 10) }},
		{"an offset behind the end", put64(tensor+24, 1<<40)},
		{"an offset that wraps", put64(tensor+24, math.MaxUint64-31)},
		{"an odd offset", put64(tensor+24, 1)},
	} {
		bad := bytes.Clone(good)
		c.change(bad)
		if err := check(bad); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	alignment := tiny()
	alignment.Pairs = append(alignment.Pairs, Pair{"general.alignment", uint32(33)})
	if err := check(content(t, alignment)); !errors.Is(err, ErrFormat) {
		t.Errorf("alignment: %v", err)
	}
	vocabulary := tiny()
	vocabulary.Pairs[5].Value = []float32{0}
	if err := check(content(t, vocabulary)); !errors.Is(err, ErrFormat) {
		t.Errorf("fewer scores than tokens: %v", err)
	}
	for n := range good[:len(good)-31] { // the padding behind the last tensor may be missing
		if err := check(good[:n]); !errors.Is(err, ErrFormat) {
			t.Fatalf("the first %d of %d bytes: %v", n, len(good), err)
		}
	}
	// A file that shrinks while it is read is no fault of the format.
	if err := Check(bytes.NewReader(good[:40]), int64(len(good))); !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		t.Errorf("a short read: %v", err)
	}
}

// FuzzCheck wants no panic, no more memory than the file's size, and an accepted
// file to be accepted with more behind it.
func FuzzCheck(f *testing.F) {
	good := content(f, tiny())
	f.Add(good)
	f.Add(good[:100])
	f.Add([]byte("GGUF\x03\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if check(b) != nil {
			return
		}
		if err := check(append(b, make([]byte, 64)...)); err != nil {
			t.Errorf("with more behind it: %v", err)
		}
	})
}
