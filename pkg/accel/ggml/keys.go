package ggml

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/runw/runw/pkg/accel"
)

var (
	poolings   = map[string]int64{"none": 0, "mean": 1, "cls": 2, "last": 3, "rank": 4}
	attentions = map[string]int64{"causal": 0, "non-causal": 1}
	flashes    = map[string]int64{"auto": -1, "off": 0, "disabled": 0, "on": 1, "enabled": 1}
	splits     = map[string]int64{"none": 0, "layer": 1, "row": 2}
	scalings   = map[string]int64{"none": 0, "linear": 1, "yarn": 2, "longrope": 3}
	// cacheTypes are the types of llama.cpp's own --cache-type-k.
	cacheTypes = map[string]int64{"f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8, "iq4_nl": 20, "bf16": 30}
)

// keys are the metadata keys that have an effect. Those that are known and have
// none, with the reasons, are in RATIONALE.md.
var keys = map[string]setter{
	"n-gpu-layers": integer(-2, 1<<20, func(o *options) *int64 { return &o.model.gpuLayers }),
	"main-gpu":     integer(0, 64, func(o *options) *int64 { return &o.model.mainGPU }),
	"split-mode":   choice(splits, func(o *options) *int64 { return &o.model.splitMode }),
	"tensor-split": words(func(o *options) *string { return &o.model.tensorSplit }),
	"use-mmap":     boolean(func(o *options) *bool { return &o.model.mmap }),
	"use-mlock":    boolean(func(o *options) *bool { return &o.model.mlock }),
	"repack":       boolean(func(o *options) *bool { return &o.model.repack }),
	"cpu-moe":      allExperts,
	"n-cpu-moe":    integer(0, 1<<10, func(o *options) *int64 { return &o.model.cpuExperts }),

	"ctx-size":          integer(0, 1<<24, func(o *options) *int64 { return &o.context.tokens }),
	"batch-size":        integer(1, 1<<16, func(o *options) *int64 { return &o.context.batch }),
	"ubatch-size":       integer(1, 1<<16, func(o *options) *int64 { return &o.context.ubatch }),
	"threads":           integer(1, maxThreads, func(o *options) *int64 { return &o.context.threads }),
	"threads-batch":     integer(1, maxThreads, func(o *options) *int64 { return &o.context.batchThreads }),
	"embedding":         boolean(func(o *options) *bool { return &o.context.embedding }),
	"pooling-type":      choice(poolings, func(o *options) *int64 { return &o.context.pooling }),
	"attention-type":    choice(attentions, func(o *options) *int64 { return &o.context.attention }),
	"flash-attn":        choice(flashes, func(o *options) *int64 { return &o.context.flash }),
	"cache-type-k":      choice(cacheTypes, func(o *options) *int64 { return &o.context.typeK }),
	"cache-type-v":      choice(cacheTypes, func(o *options) *int64 { return &o.context.typeV }),
	"no-kv-offload":     boolean(func(o *options) *bool { return &o.context.noKVOffload }),
	"rope-scaling-type": choice(scalings, func(o *options) *int64 { return &o.context.ropeScaling }),
	"rope-freq-base":    float(0, 1e12, func(o *options) *float64 { return &o.context.ropeBase }),
	"rope-freq-scale":   float(0, 1e6, func(o *options) *float64 { return &o.context.ropeScale }),
	"yarn-ext-factor":   float(-1, 1e6, func(o *options) *float64 { return &o.context.yarnExt }),
	"yarn-attn-factor":  float(-1, 1e6, func(o *options) *float64 { return &o.context.yarnAttn }),
	"yarn-beta-fast":    float(-1, 1e6, func(o *options) *float64 { return &o.context.yarnFast }),
	"yarn-beta-slow":    float(-1, 1e6, func(o *options) *float64 { return &o.context.yarnSlow }),
	"yarn-orig-ctx":     integer(0, 1<<24, func(o *options) *int64 { return &o.context.yarnOrig }),

	"seed":              integer(-1, math.MaxUint32, func(o *options) *int64 { return &o.sampler.seed }),
	"temp":              float(-1, 1e6, func(o *options) *float64 { return &o.sampler.temp }),
	"dynatemp-range":    float(0, 1e6, func(o *options) *float64 { return &o.sampler.dynRange }),
	"dynatemp-exponent": float(0, 1e6, func(o *options) *float64 { return &o.sampler.dynExponent }),
	"top-k":             integer(-1, math.MaxInt32, func(o *options) *int64 { return &o.sampler.topK }),
	"top-p":             float(0, 1e6, func(o *options) *float64 { return &o.sampler.topP }),
	"min-p":             float(0, 1e6, func(o *options) *float64 { return &o.sampler.minP }),
	"typ-p":             float(0, 1e6, func(o *options) *float64 { return &o.sampler.typical }),
	"top-n-sigma":       float(-1, 1e6, func(o *options) *float64 { return &o.sampler.topNSigma }),
	"xtc-probability":   float(0, 1, func(o *options) *float64 { return &o.sampler.xtcProbability }),
	"xtc-threshold":     float(0, 1, func(o *options) *float64 { return &o.sampler.xtcThreshold }),
	"last-n-penalty":    integer(-1, 1<<20, func(o *options) *int64 { return &o.sampler.lastN }),
	"repeat-penalty":    float(1e-6, 1e6, func(o *options) *float64 { return &o.sampler.repeat }),
	"presence-penalty":  float(-1e6, 1e6, func(o *options) *float64 { return &o.sampler.presence }),
	"frequency-penalty": float(-1e6, 1e6, func(o *options) *float64 { return &o.sampler.frequency }),
	// The first spelling is WasmEdge's.
	"dry-multipier":         float(0, 1e6, func(o *options) *float64 { return &o.sampler.dryMultiplier }),
	"dry-multiplier":        float(0, 1e6, func(o *options) *float64 { return &o.sampler.dryMultiplier }),
	"dry-base":              float(0, 1e6, func(o *options) *float64 { return &o.sampler.dryBase }),
	"dry-allowed-length":    integer(0, 1<<20, func(o *options) *int64 { return &o.sampler.dryAllowed }),
	"dry-penalty-last-n":    integer(-1, 1<<20, func(o *options) *int64 { return &o.sampler.dryLastN }),
	"dry-sequence-breakers": sequenceBreakers,
	"mirostat":              integer(0, 2, func(o *options) *int64 { return &o.sampler.mirostat }),
	"mirostat-tau":          float(0, 1e6, func(o *options) *float64 { return &o.sampler.mirostatTau }),
	"mirostat-ent":          float(0, 1e6, func(o *options) *float64 { return &o.sampler.mirostatTau }),
	"mirostat-eta":          float(0, 1e6, func(o *options) *float64 { return &o.sampler.mirostatEta }),
	"min-keep":              integer(0, 1<<20, func(o *options) *int64 { return &o.sampler.minKeep }),
	"ignore-eos":            boolean(func(o *options) *bool { return &o.sampler.ignoreEnd }),
	"grammar":               words(func(o *options) *string { return &o.sampler.grammar }),
	"json-schema":           schemaGrammar,

	"n-predict":        integer(-2, math.MaxInt32, func(o *options) *int64 { return &o.run.predict }),
	"reverse-prompt":   words(func(o *options) *string { return &o.run.reversePrompt }),
	"n-keep":           integer(-1, 1<<24, func(o *options) *int64 { return &o.run.keep }),
	"ctx-shift":        boolean(func(o *options) *bool { return &o.run.shift }),
	"enable-log":       boolean(func(o *options) *bool { return &o.run.log }),
	"enable-debug-log": boolean(func(o *options) *bool { return &o.run.debugLog }),

	// What needs libraries that this backend does not have: silence would give
	// an answer to another question.
	"mmproj":        refused("pictures need libmtmd"),
	"image":         refused("pictures need libmtmd"),
	"tts":           refused("speech needs a second model"),
	"model-vocoder": refused("speech needs a second model"),
}

// maxThreads is GGML_MAX_N_THREADS: more is an assertion of the library.
const maxThreads = 512

// refused is a key whose only harmless value is empty or false.
func refused(why string) setter {
	return func(_ *options, value any) error {
		if value == "" || value == false || value == nil {
			return nil
		}
		return fmt.Errorf("%s: %w", why, accel.ErrUnsupportedOperation)
	}
}

func allExperts(o *options, value any) error {
	v, ok := value.(bool)
	if !ok {
		return errWrongType
	}
	if v {
		o.model.cpuExperts = -1
	}
	return nil
}

func sequenceBreakers(o *options, value any) error {
	list, ok := value.([]any)
	if !ok {
		return errWrongType
	}
	var texts []string
	for _, v := range list {
		s, ok := v.(string)
		if !ok {
			return errWrongType
		}
		if strings.ContainsRune(s, 0) || len(texts) == 64 {
			return errors.New("a NUL, or more than 64")
		}
		texts = append(texts, s)
	}
	o.sampler.dryBreakers = strings.Join(texts, "\x00")
	return nil
}
