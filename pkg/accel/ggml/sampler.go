package ggml

import (
	"fmt"
	"math"
	"runtime"
	"strings"

	"github.com/runw/runw/pkg/accel"
)

// sampler chooses the next token:
//
//	ptr: bias ─ grammar ─ inner ─┬ penalties ─ dry ─ top-n-sigma ─ top-k ─ typ-p ─ top-p ─ min-p ─ xtc ─ temp ─ dist
//	                             ├ (mirostat) penalties ─ dry ─ temp ─ mirostat
//	                             └ (temp ≤ 0) penalties ─ dry ─ greedy
//
// It is llama.cpp's usual order. The inner chain alone is told of the prompt: its
// penalties count it, while a grammar begins with the answer.
type sampler struct {
	lib     *library
	vocab   vocabPtr
	options samplerOptions
	limit   int
	ptr     samplerPtr
	inner   samplerPtr
	// tokens that ignore-eos excludes, found once: a vocabulary is long
	ends []logitBias
}

// make notes what the sampler is to be; a wrong grammar is found here.
func (s *sampler) make(lib *library, vocab vocabPtr, o samplerOptions, limit int) error {
	if s.vocab != vocab {
		s.ends = nil
	}
	s.free()
	s.lib, s.vocab, s.options, s.limit = lib, vocab, o, limit
	return s.build()
}

func (s *sampler) free() {
	if s.ptr != 0 {
		s.lib.freeSampler(s.ptr) // with all that is in it
		s.ptr, s.inner = 0, 0
	}
}

// reset tells the penalties of the prompt's last tokens.
func (s *sampler) reset(prompt []int32) {
	last := max(s.lastOf(s.options.lastN), s.lastOf(s.options.dryLastN))
	for _, token := range prompt[max(0, len(prompt)-last):] {
		s.lib.accept(s.inner, token)
	}
}

// lastOf is a number of tokens to look back, of which -1 is all.
func (s *sampler) lastOf(n int64) int {
	if n < 0 {
		return s.limit
	}
	return int(n)
}

func (s *sampler) build() error {
	const noPerf = true
	l, o := s.lib, s.options
	tokens := l.vocabSize(s.vocab)
	s.ptr, s.inner = l.chain(noPerf), l.chain(noPerf)
	if o.ignoreEnd {
		if bias := s.noEnd(tokens); len(bias) > 0 {
			l.chainAdd(s.ptr, l.bias(tokens, int32(len(bias)), &bias[0]))
		}
	}
	if o.grammar != "" {
		g := l.grammar(s.vocab, o.grammar, "root")
		if g == 0 {
			l.freeSampler(s.inner)
			l.freeSampler(s.ptr)
			s.ptr, s.inner = 0, 0
			return fmt.Errorf("the grammar cannot be parsed: %w", accel.ErrInvalidArgument)
		}
		l.chainAdd(s.ptr, g)
	}
	for _, part := range s.parts(tokens) {
		l.chainAdd(s.inner, part)
	}
	l.chainAdd(s.ptr, s.inner)
	return nil
}

func (s *sampler) parts(tokens int32) []samplerPtr {
	l, o := s.lib, s.options
	seed, keep := uint32(o.seed), uint64(o.minKeep)
	list := []samplerPtr{
		l.penalties(tokens, int32(s.lastOf(o.lastN)), float32(o.repeat), float32(o.frequency), float32(o.presence)),
	}
	if o.dryMultiplier > 0 {
		list = append(list, s.dry())
	}
	if o.temp <= 0 {
		return append(list, l.greedy())
	}
	temp := l.temp(float32(o.temp), float32(o.dynRange), float32(o.dynExponent))
	switch o.mirostat {
	case 1:
		return append(list, temp, l.mirostat(tokens, seed, float32(o.mirostatTau), float32(o.mirostatEta), 100))
	case 2:
		return append(list, temp, l.mirostat2(seed, float32(o.mirostatTau), float32(o.mirostatEta)))
	}
	return append(list,
		l.topNSigma(float32(o.topNSigma)),
		l.topK(int32(o.topK)),
		l.typical(float32(o.typical), keep),
		l.topP(float32(o.topP), keep),
		l.minP(float32(o.minP), keep),
		l.xtc(float32(o.xtcProbability), float32(o.xtcThreshold), keep, seed),
		temp,
		l.dist(seed))
}

func (s *sampler) dry() samplerPtr {
	o := s.options
	var pins runtime.Pinner
	defer pins.Unpin() // the library copies the strings
	var breakers []*byte
	if o.dryBreakers != "" {
		for _, text := range strings.Split(o.dryBreakers, "\x00") {
			c := append([]byte(text), 0)
			pins.Pin(&c[0])
			breakers = append(breakers, &c[0])
		}
	}
	var first **byte
	if len(breakers) > 0 {
		pins.Pin(&breakers[0])
		first = &breakers[0]
	}
	return s.lib.dry(s.vocab, float32(o.dryMultiplier), float32(o.dryBase), int32(o.dryAllowed), int32(s.lastOf(o.dryLastN)), first, uint64(len(breakers)))
}

// noEnd excludes every token that ends a generation.
func (s *sampler) noEnd(tokens int32) []logitBias {
	if s.ends == nil {
		for token := range tokens {
			if s.lib.isEnd(s.vocab, token) {
				s.ends = append(s.ends, logitBias{token, float32(math.Inf(-1))})
			}
		}
	}
	return s.ends
}
