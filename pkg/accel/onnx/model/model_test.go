package model

import (
	"bytes"
	"crypto/sha256"
	"testing"
)

// Tests elsewhere rely on the same bytes from each build.
func TestFilesDeterministic(t *testing.T) {
	first, second := Files(), Files()
	for i, file := range first {
		if len(file.Data) == 0 || sha256.Sum256(file.Data) != sha256.Sum256(second[i].Data) {
			t.Errorf("%s: two builds differ", file.Name)
		}
	}
}

func TestWeightsAligned(t *testing.T) {
	for size := alignment; size < 1<<16; size = size*2 + 4 {
		data := bytes.Repeat([]byte{0xa5}, size)
		for _, name := range []string{"w", "a longer name"} {
			m := Graph{Weights: []Weight{
				{Name: "first", Type: Float, Dims: []int64{1}, Data: []byte{1, 2, 3, 4}},
				{Name: name, Type: Uint8, Dims: []int64{int64(size)}, Data: data},
			}}.Model()
			if at := bytes.Index(m, data); at < 0 || at%alignment != 0 {
				t.Errorf("%q of %d bytes is at %d", name, size, at)
			}
		}
	}
}
