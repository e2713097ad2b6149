package gguf

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Architecture is the shape of a model of the llama family. Dim is a multiple of
// 32 and of Heads, Heads of KVHeads, FF a multiple of 32.
type Architecture struct {
	Dim, Layers, Heads, KVHeads, FF int
	Context                         int
	Type                            Type // of the matrices
}

// Small is what Successor has if nothing else is asked for: 4 MB.
var Small = Architecture{Dim: 384, Layers: 2, Heads: 6, KVHeads: 6, FF: 384, Context: 512, Type: F16}

// Large is for measurements of Random: 76 MB, a few ten tokens a second and core.
var Large = Architecture{Dim: 1024, Layers: 8, Heads: 16, KVHeads: 4, FF: 2048, Context: 2048, Type: Q8}

// The vocabulary: three special tokens, each byte, then one token for each
// printable ASCII character. There are no longer ones, so that a text of n
// ASCII characters is n tokens, after one for the beginning.
const (
	tokenUnknown = 0
	TokenBegin   = 1
	TokenEnd     = 2
	firstByte    = 3
	firstChar    = firstByte + 256
	// Tokens is the size of the vocabulary.
	Tokens = firstChar + 95
)

// Token is the token of a printable ASCII character.
func Token(c byte) int { return firstChar + int(c) - ' ' }

// tokenOfByte is the token of a byte that is no character.
func tokenOfByte(b byte) int { return firstByte + int(b) }

// successor is the token that Successor's output is after another.
func successor(token int) int {
	switch {
	case token == Token('z') || token == Token('.'):
		return TokenEnd
	case token == Token('9'):
		return Token('0') // a ring: no end
	case token >= Token('a') && token < Token('z') || token >= Token('0') && token < Token('9'):
		return token + 1
	case token == tokenOfByte(0xc3):
		return tokenOfByte(0xa9)
	case token == tokenOfByte(0xa9):
		return tokenOfByte(0xc3) // "é" for ever, half a character each
	}
	return Token('a')
}

// Successor is a model whose output is known, with a probability next to 1:
// after a letter comes the next one and after "z" the end, after a digit the
// next one without an end, after "." the end, after "é" another, after anything
// else "a". "abc" goes on with "defghijklmno". Its attention and its feed-forward
// layers are computed and add nothing.
//
// Its embedding of a text, averaged, is the number of times that each token
// occurs in it, the beginning included, at the token's place.
func Successor(a Architecture) (File, error) {
	if a.Dim < Tokens {
		return File{}, fmt.Errorf("dimension %d is less than the vocabulary's %d", a.Dim, Tokens)
	}
	oneHot := func(column func(token int) int, value float32) func() []byte {
		return func() []byte {
			m := make([]float32, Tokens*a.Dim)
			for token := range Tokens {
				m[column(token)*a.Dim+token] = value
			}
			return encode(a.Type, m)
		}
	}
	zero := func(_ string, n int) []byte { return encode(a.Type, make([]float32, n)) }
	f, err := a.file(zero)
	if err != nil {
		return File{}, err
	}
	for i := range f.Tensors {
		switch t := &f.Tensors[i]; t.Name {
		case "token_embd.weight":
			t.Data = oneHot(func(token int) int { return token }, 1)
		case "output.weight":
			// The normalised 1 is √Dim, so that the chosen token is e^78 times as likely.
			t.Data = oneHot(successor, 4)
		}
	}
	return f, nil
}

// Random is a model of pseudo-random weights, the same for each seed: its text
// means nothing, depends on all that was before and takes the time a model of
// its shape takes.
func Random(a Architecture, seed uint64) (File, error) {
	return a.file(func(name string, n int) []byte {
		state := seed
		for _, c := range []byte(name) {
			state = next(state ^ uint64(c))
		}
		return random(a.Type, n, a.Dim, state)
	})
}

// next is one step of splitmix64.
func next(state uint64) uint64 {
	z := state + 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// random gives n numbers of mean 0 and deviation 1/√fan.
func random(kind Type, n, fan int, state uint64) []byte {
	bytes := make([]int8, n)
	for i := range bytes {
		state = next(state)
		bytes[i] = int8(state%255) - 127
	}
	const deviation = 73.6 // of the integers from -127 to 127
	scale := float32(1 / (deviation * math.Sqrt(float64(fan))))
	if kind == Q8 {
		out := make([]byte, 0, n/32*34)
		for ; len(bytes) > 0; bytes = bytes[32:] {
			out = binary.LittleEndian.AppendUint16(out, half(scale))
			for _, v := range bytes[:32] {
				out = append(out, byte(v))
			}
		}
		return out
	}
	m := make([]float32, n)
	for i, v := range bytes {
		m[i] = float32(v) * scale
	}
	return encode(kind, m)
}

// file is a model of the shape whose matrices fill gives: n numbers for a name.
func (a Architecture) file(fill func(name string, n int) []byte) (File, error) {
	if a.Dim%32 != 0 || a.FF%32 != 0 || a.Heads == 0 || a.KVHeads == 0 || a.Dim%a.Heads != 0 || a.Heads%a.KVHeads != 0 {
		return File{}, fmt.Errorf("no shape: %+v", a)
	}
	f := File{Pairs: a.pairs()}
	matrix := func(name string, in, out int) {
		f.Tensors = append(f.Tensors, Tensor{name, a.Type, []uint64{uint64(in), uint64(out)}, func() []byte { return fill(name, in*out) }})
	}
	norm := func(name string) {
		f.Tensors = append(f.Tensors, Tensor{name, F32, []uint64{uint64(a.Dim)}, func() []byte {
			ones := make([]float32, a.Dim)
			for i := range ones {
				ones[i] = 1
			}
			return encode(F32, ones)
		}})
	}
	kv := a.Dim / a.Heads * a.KVHeads
	matrix("token_embd.weight", a.Dim, Tokens)
	for i := range a.Layers {
		layer := fmt.Sprintf("blk.%d.", i)
		norm(layer + "attn_norm.weight")
		matrix(layer+"attn_q.weight", a.Dim, a.Dim)
		matrix(layer+"attn_k.weight", a.Dim, kv)
		matrix(layer+"attn_v.weight", a.Dim, kv)
		matrix(layer+"attn_output.weight", a.Dim, a.Dim)
		norm(layer + "ffn_norm.weight")
		matrix(layer+"ffn_gate.weight", a.Dim, a.FF)
		matrix(layer+"ffn_up.weight", a.Dim, a.FF)
		matrix(layer+"ffn_down.weight", a.FF, a.Dim)
	}
	norm("output_norm.weight")
	matrix("output.weight", a.Dim, Tokens)
	return f, nil
}

func (a Architecture) pairs() []Pair {
	tokens, scores, kinds := vocabulary()
	return []Pair{
		{"general.architecture", "llama"},
		{"general.name", "runw test model"},
		{"llama.context_length", uint32(a.Context)},
		{"llama.embedding_length", uint32(a.Dim)},
		{"llama.block_count", uint32(a.Layers)},
		{"llama.feed_forward_length", uint32(a.FF)},
		{"llama.attention.head_count", uint32(a.Heads)},
		{"llama.attention.head_count_kv", uint32(a.KVHeads)},
		{"llama.attention.layer_norm_rms_epsilon", float32(1e-5)},
		{"llama.rope.dimension_count", uint32(a.Dim / a.Heads)},
		{"llama.vocab_size", uint32(Tokens)},
		{"tokenizer.ggml.model", "llama"},
		{"tokenizer.ggml.tokens", tokens},
		{"tokenizer.ggml.scores", scores},
		{"tokenizer.ggml.token_type", kinds},
		{"tokenizer.ggml.bos_token_id", uint32(TokenBegin)},
		{"tokenizer.ggml.eos_token_id", uint32(TokenEnd)},
		{"tokenizer.ggml.unknown_token_id", uint32(tokenUnknown)},
		{"tokenizer.ggml.add_bos_token", true},
		{"tokenizer.ggml.add_space_prefix", false},
	}
}

// vocabulary gives texts, scores and kinds of the tokens as llama's tokenizer wants them.
func vocabulary() (tokens []string, scores []float32, kinds []int32) {
	const normal, unknown, control, byteToken = 1, 2, 3, 6
	add := func(text string, kind int32) {
		tokens, scores, kinds = append(tokens, text), append(scores, -float32(len(tokens))), append(kinds, kind)
	}
	add("<unk>", unknown)
	add("<s>", control)
	add("</s>", control)
	for b := range 256 {
		add(fmt.Sprintf("<0x%02X>", b), byteToken)
	}
	add("\u2581", normal) // this tokenizer's space
	for c := '!'; c <= '~'; c++ {
		add(string(c), normal)
	}
	return tokens, scores, kinds
}

// encode stores numbers as a type; for Q8 only zeros and small integers are exact.
func encode(kind Type, m []float32) []byte {
	e := binary.LittleEndian
	var out []byte
	switch kind {
	case F16:
		out = make([]byte, 0, len(m)*2)
		for _, v := range m {
			out = e.AppendUint16(out, half(v))
		}
	case Q8:
		out = make([]byte, 0, len(m)/32*34)
		for ; len(m) > 0; m = m[32:] {
			out = e.AppendUint16(out, half(1))
			for _, v := range m[:32] {
				out = append(out, byte(int8(v)))
			}
		}
	default:
		out = make([]byte, 0, len(m)*4)
		for _, v := range m {
			out = e.AppendUint32(out, math.Float32bits(v))
		}
	}
	return out
}

// half is the number as an IEEE half, its last digits cut off; too small ones become 0.
func half(v float32) uint16 {
	b := math.Float32bits(v)
	sign, exponent := uint16(b>>16&0x8000), int(b>>23&0xff)-127+15
	switch {
	case exponent <= 0:
		return sign
	case exponent >= 31:
		return sign | 0x7c00
	}
	return sign | uint16(exponent)<<10 | uint16(b>>13&0x3ff)
}
