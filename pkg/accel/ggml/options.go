package ggml

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/runw/runw/pkg/accel"
)

// maxConfig is the longest metadata; a grammar is the longest thing in one.
const maxConfig = 1 << 20

// The options by what has to be made anew if one of them changes. All are
// comparable: that is how a change is seen.
type options struct {
	model   modelOptions
	context contextOptions
	sampler samplerOptions
	run     runOptions
}

type modelOptions struct {
	gpuLayers   int64 // -1: all
	mainGPU     int64
	splitMode   int64
	tensorSplit string // "3,2"
	mmap, mlock bool
	repack      bool
	cpuExperts  int64 // of how many layers the experts stay on the CPU; -1: all
}

type contextOptions struct {
	tokens, batch, ubatch int64
	threads, batchThreads int64
	embedding             bool
	pooling, attention    int64
	flash                 int64
	typeK, typeV          int64
	ropeScaling           int64
	ropeBase, ropeScale   float64
	yarnExt, yarnAttn     float64
	yarnFast, yarnSlow    float64
	yarnOrig              int64
	noKVOffload           bool
}

type samplerOptions struct {
	seed                         int64
	temp, dynRange, dynExponent  float64
	topK                         int64
	topP, minP, typical          float64
	topNSigma                    float64
	xtcProbability, xtcThreshold float64
	lastN                        int64
	repeat, presence, frequency  float64
	dryMultiplier, dryBase       float64
	dryAllowed, dryLastN         int64
	dryBreakers                  string // joined by NUL
	mirostat                     int64
	mirostatTau, mirostatEta     float64
	minKeep                      int64
	ignoreEnd                    bool
	grammar                      string
}

type runOptions struct {
	predict       int64 // -1: until the end, -2: until the context is full
	reversePrompt string
	keep          int64
	shift         bool
	log, debugLog bool
}

// defaults are llama.cpp's own, but for the context: a model's whole one may need
// more memory than a container has.
func defaults() options {
	return options{
		model:   modelOptions{gpuLayers: -1, splitMode: 1, mmap: true},
		context: contextOptions{batch: 2048, ubatch: 512, pooling: -1, attention: -1, flash: -1, typeK: 1, typeV: 1, ropeScaling: -1, yarnExt: -1, yarnAttn: -1, yarnFast: -1, yarnSlow: -1},
		sampler: samplerOptions{
			seed: math.MaxUint32, temp: 0.8, dynExponent: 1, topK: 40, topP: 0.95, minP: 0.05, typical: 1, topNSigma: -1, xtcThreshold: 0.1,
			lastN: 64, repeat: 1, dryBase: 1.75, dryAllowed: 2, dryLastN: -1, dryBreakers: "\n\x00:\x00\"\x00*", mirostatTau: 5, mirostatEta: 0.1,
		},
		run: runOptions{predict: -1},
	}
}

// setter puts a value of JSON into the options.
type setter func(o *options, value any) error

var errWrongType = errors.New("wrong type")

func boolean(field func(*options) *bool) setter {
	return func(o *options, value any) error {
		v, ok := value.(bool)
		if !ok {
			return errWrongType
		}
		*field(o) = v
		return nil
	}
}

func integer(least, most int64, field func(*options) *int64) setter {
	return func(o *options, value any) error {
		number, ok := value.(json.Number)
		if !ok {
			return errWrongType
		}
		v, err := number.Int64()
		if err != nil {
			return errWrongType
		}
		if v < least || v > most {
			return fmt.Errorf("%d is not in %d to %d", v, least, most)
		}
		*field(o) = v
		return nil
	}
}

func float(least, most float64, field func(*options) *float64) setter {
	return func(o *options, value any) error {
		number, ok := value.(json.Number)
		if !ok {
			return errWrongType
		}
		v, err := number.Float64()
		if err != nil || !(v >= least && v <= most) {
			return fmt.Errorf("%s is not in %g to %g", number, least, most)
		}
		*field(o) = v
		return nil
	}
}

func words(field func(*options) *string) setter {
	return func(o *options, value any) error {
		v, ok := value.(string)
		if !ok {
			return errWrongType
		}
		if strings.ContainsRune(v, 0) {
			return errors.New("a NUL in a string")
		}
		*field(o) = v
		return nil
	}
}

// choice is a string out of names, which give its number.
func choice(names map[string]int64, field func(*options) *int64) setter {
	return func(o *options, value any) error {
		v, ok := value.(string)
		if !ok {
			return errWrongType
		}
		n, ok := names[strings.ToLower(v)]
		if !ok {
			return fmt.Errorf("unknown value %q", v)
		}
		*field(o) = n
		return nil
	}
}

// merge puts metadata into the options, all of it or nothing. Unknown keys are
// ignored, as WasmEdge does; a value of a wrong type is ErrInvalidArgument.
func (o *options) merge(metadata []byte) error {
	if len(metadata) > maxConfig {
		return fmt.Errorf("metadata of %d bytes: %w", len(metadata), accel.ErrTooLarge)
	}
	decoder := json.NewDecoder(bytes.NewReader(metadata))
	decoder.UseNumber()
	var values map[string]any
	if err := decoder.Decode(&values); err != nil {
		return fmt.Errorf("metadata: %w: %w", err, accel.ErrInvalidArgument)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("metadata: more than one JSON value: %w", accel.ErrInvalidArgument)
	}
	changed := *o
	for key, value := range values {
		set, ok := keys[key]
		if !ok {
			continue
		}
		if err := set(&changed, value); err != nil {
			code := accel.ErrInvalidArgument
			errors.As(err, &code)
			return fmt.Errorf("metadata key %q: %w: %w", key, err, code)
		}
	}
	*o = changed
	return nil
}
