package ggml

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
)

// testedVersion is the llama.cpp whose structs were compared with its headers.
const testedVersion = "0.5"

// params is llama_model_params (80 bytes in 0.5) or llama_context_params (160),
// by value. It is larger than both: a struct of over 16 bytes is passed as bytes
// on the stack (amd64) or by reference (arm64), always as the last argument, so
// that the callee sees its own prefix and not the rest. purego passes up to 208.
type params struct{ words [25]uint64 }

// batch is llama_batch, which only the library looks into: 56 bytes.
type batch struct{ _ [12]uint64 }

func (p *params) u32(offset int) uint32 { return binary.LittleEndian.Uint32(p.bytes()[offset:]) }

func (p *params) setU32(offset int, v uint32) {
	binary.LittleEndian.PutUint32(p.bytes()[offset:], v)
}
func (p *params) setFloat(offset int, v float32) { p.setU32(offset, math.Float32bits(v)) }

func (p *params) setBool(offset int, v bool) {
	p.bytes()[offset] = 0
	if v {
		p.bytes()[offset] = 1
	}
}

// Offsets in llama_model_params. Up to n_gpu_layers they have not changed since
// the fields exist; the others are those of 0.5 and used if layout says so.
const (
	modelDevices      = 0
	modelOverrides    = 8
	modelGPULayers    = 16
	modelSplitMode    = 20
	modelLoadMode     = 24
	modelMainGPU      = 32
	modelTensorSplit  = 40
	modelProgress     = 48
	modelProgressData = 56
	modelExtraBufts   = 74
)

// Offsets in llama_context_params, the first four as old as the struct.
const (
	contextTokens     = 0
	contextBatch      = 4
	contextUbatch     = 8
	contextSequences  = 12
	contextRope       = 40
	contextPooling    = 44
	contextAttention  = 48
	contextFlash      = 52
	contextRopeBase   = 56
	contextRopeScale  = 60
	contextYarnExt    = 64
	contextYarnAttn   = 68
	contextYarnFast   = 72
	contextYarnSlow   = 76
	contextYarnOrig   = 80
	contextTypeK      = 104
	contextTypeV      = 108
	contextOffloadKQV = 129
)

// layout says which structs are as in the tested version, by their defaults.
type layout struct {
	model, context bool
}

// expected is a default at an offset, four bytes or one.
type expected struct {
	offset int
	value  uint32
	single bool
}

const minusOne = math.MaxUint32

var (
	modelPrefix   = []expected{{modelDevices, 0, false}, {modelOverrides, 0, false}, {modelGPULayers, minusOne, false}}
	contextPrefix = []expected{{contextTokens, 512, false}, {contextBatch, 2048, false}, {contextUbatch, 512, false}, {contextSequences, 1, false}}
	modelRest     = []expected{
		{modelSplitMode, 1, false}, {modelLoadMode, minusOne, false}, {28, 1, false}, {modelMainGPU, 0, false}, {modelTensorSplit, 0, false},
		{modelProgress, 0, false}, {64, 0, false}, {72, 0, true}, {73, 0, true}, {modelExtraBufts, 1, true}, {75, 0, true},
	}
	yarn        = math.Float32bits(-1)
	contextRest = []expected{
		{28, 4, false}, {32, 4, false}, {36, 0, false}, {contextRope, minusOne, false}, {contextPooling, minusOne, false},
		{contextAttention, minusOne, false}, {contextFlash, minusOne, false}, {contextRopeBase, 0, false}, {contextRopeScale, 0, false},
		{contextYarnExt, yarn, false}, {contextYarnAttn, yarn, false}, {contextYarnFast, yarn, false}, {contextYarnSlow, yarn, false},
		{contextYarnOrig, 0, false}, {84, yarn, false}, {88, 0, false}, {contextTypeK, 1, false}, {contextTypeV, 1, false}, {112, 0, false},
		{128, 0, true}, {contextOffloadKQV, 1, true}, {130, 1, true}, {131, 1, true},
	}
)

// differs names the first default that is not where it is expected.
func (p *params) differs(list []expected) string {
	for _, e := range list {
		got := p.u32(e.offset)
		if e.single {
			got &= 0xff
		}
		if got != e.value {
			return fmt.Sprintf("%d at byte %d (want %d)", int32(got), e.offset, int32(e.value))
		}
	}
	return ""
}

// checkLayout compares the library's default parameters with those of the tested
// version. Another prefix is an error: every call would go wrong. If only the
// rest is another, lines says which keys of the metadata have no effect.
func (l *library) checkLayout() (lines []string, err error) {
	model, context := l.modelDefaults(), l.contextDefaults()
	for name, what := range map[string]string{
		"llama_model_params": model.differs(modelPrefix), "llama_context_params": context.differs(contextPrefix),
	} {
		if what != "" {
			return nil, fmt.Errorf("%s (llama.cpp %s): %s has %s: runw is made for llama.cpp %s", l.path, l.version(), name, what, testedVersion)
		}
	}
	if !strings.HasPrefix(l.version(), testedVersion+".") {
		lines = append(lines, fmt.Sprintf("llama.cpp %s: runw is tested with %s", l.version(), testedVersion))
	}
	ignored := func(what, keys string) {
		lines = append(lines, fmt.Sprintf("llama.cpp %s: unknown layout (%s); without effect: %s", l.version(), what, keys))
	}
	if what := model.differs(modelRest); what != "" {
		ignored(what, "split-mode, main-gpu, tensor-split, use-mmap, use-mlock, repack")
	} else {
		l.layout.model = true
	}
	if what := context.differs(contextRest); what != "" {
		ignored(what, "rope-*, yarn-*, pooling-type, attention-type, flash-attn, cache-type-*, no-kv-offload")
	} else {
		l.layout.context = true
	}
	return lines, nil
}

func (p *params) setU64(offset int, v uint64) {
	binary.LittleEndian.PutUint64(p.bytes()[offset:], v)
}
