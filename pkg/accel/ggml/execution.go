package ggml

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"runtime"

	"github.com/runw/runw/pkg/accel"
)

// maxPrompt is the longest text of a prompt: more than any context holds.
const maxPrompt = 64 << 20

// The inputs and outputs, by WasmEdge's numbers.
const (
	inputPrompt    = 0
	inputMetadata  = 1
	outputText     = 0
	outputCounters = 1
)

// execution is accel.Context: one conversation with a model.
type execution struct {
	graph   *graph
	options options
	abort   *abort
	closed  bool

	prompt    []byte
	hasPrompt bool

	// made of the options it was made with; nil or 0 before the first computation
	model   *model
	ptr     contextPtr
	pool    *pool
	made    contextOptions
	sampler sampler

	// kept are the tokens that the library's memory holds, in order from 0.
	kept []int32
	run  generation

	output  []byte // index 0; nil before it was computed
	single  []byte // the last token's bytes; nil before one was made
	counted counters
}

// counters is output 1.
type counters struct {
	Input  int `json:"input_tokens"`
	Output int `json:"output_tokens"`
	// Cached is how many of the input's tokens the context still knew from the
	// turn before. An addition to WasmEdge's.
	Cached  int    `json:"cached_tokens"`
	Build   int    `json:"llama_build_number"`
	Commit  string `json:"llama_commit"`
	Version string `json:"llama_version"`
}

// SetInput takes the prompt at index 0 and metadata at index 1, each the bytes of
// a tensor of any type and shape. Either ends a generation by steps.
func (e *execution) SetInput(index uint32, t accel.Tensor) error {
	switch index {
	case inputPrompt:
		if len(t.Data) > maxPrompt {
			return fmt.Errorf("prompt of %d bytes: %w", len(t.Data), accel.ErrTooLarge)
		}
		e.prompt, e.hasPrompt = append(e.prompt[:0], t.Data...), true
	case inputMetadata:
		if err := e.options.merge(t.Data); err != nil {
			return err
		}
	default:
		return fmt.Errorf("input %d: %w", index, accel.ErrInvalidArgument)
	}
	e.run = generation{}
	return nil
}

// Output gives the text, or the embedding as JSON, at index 0 and counters at 1.
func (e *execution) Output(index uint32) ([]byte, error) {
	if e.output == nil {
		return nil, fmt.Errorf("output %d: nothing was computed: %w", index, accel.ErrRuntime)
	}
	return e.outputOf(index, e.output)
}

// OutputSingle gives the bytes of the last token at index 0 and counters at 1.
func (e *execution) OutputSingle(index uint32) ([]byte, error) {
	if e.single == nil {
		return nil, fmt.Errorf("single output %d: nothing was computed: %w", index, accel.ErrRuntime)
	}
	return e.outputOf(index, e.single)
}

func (e *execution) outputOf(index uint32, text []byte) ([]byte, error) {
	switch index {
	case outputText:
		return text, nil
	case outputCounters:
		return json.Marshal(e.counted)
	}
	return nil, fmt.Errorf("output %d: %w", index, accel.ErrInvalidArgument)
}

// Compute runs to the end of the text. The code for a full context is returned
// after the text is there; the end of the sequence is success.
func (e *execution) Compute(ctx context.Context) error {
	e.run = generation{}
	if e.options.context.embedding {
		return e.embed(ctx)
	}
	for {
		err := e.step(ctx)
		switch {
		case err == nil:
			continue
		case is(err, accel.ErrEndOfSequence):
			err = nil
		}
		e.run = generation{}
		return err
	}
}

// ComputeSingle makes the next token; after an error the next call begins anew.
func (e *execution) ComputeSingle(ctx context.Context) error {
	if e.options.context.embedding {
		return fmt.Errorf("an embedding has no steps: %w", accel.ErrUnsupportedOperation)
	}
	err := e.step(ctx)
	if err != nil {
		e.run = generation{}
	}
	return err
}

// FinishSingle forgets the generation, not what the context knows of its tokens.
func (e *execution) FinishSingle() error {
	e.run, e.single = generation{}, nil
	return nil
}

// Close frees all that the context holds.
func (e *execution) Close() {
	if e.closed {
		return
	}
	e.closed = true
	e.drop()
	e.abort.free()
}

// drop frees what the library holds for the context.
func (e *execution) drop() {
	e.sampler.free()
	if e.ptr != 0 {
		e.graph.backend.lib.freeContext(e.ptr)
		e.ptr = 0
	}
	if e.pool != nil {
		e.graph.backend.pools.leave(e.pool)
		e.pool = nil
	}
	if e.model != nil {
		e.model.release()
		e.model = nil
	}
	e.kept = nil
}

// ready makes the library's context and sampler, anew if their options changed.
func (e *execution) ready(ctx context.Context) error {
	lib := e.graph.backend.lib
	if e.graph.closed {
		return fmt.Errorf("%w: %w", errClosed, accel.ErrRuntime)
	}
	if !e.hasPrompt {
		return fmt.Errorf("no prompt: %w", accel.ErrInvalidArgument)
	}
	if err := e.prepare(ctx); err != nil || e.options.context.embedding {
		return err
	}
	return e.sampler.make(lib, e.model.vocab, e.options.sampler, e.limit())
}

// prepare makes the library's context, anew if its options or the model's changed.
func (e *execution) prepare(ctx context.Context) error {
	e.graph.backend.log.setLevel(e.options.run)
	if e.ptr != 0 && e.made == e.options.context && e.model.options == e.options.model {
		return nil
	}
	e.drop()
	m, err := e.graph.modelWith(ctx, e.options.model)
	if err != nil {
		return err
	}
	e.model = m
	if err := e.makeContext(); err != nil {
		e.drop()
		return err
	}
	e.made = e.options.context
	return nil
}

// maxDefaultTokens bounds a context whose size nobody asked for.
const maxDefaultTokens = 4096

func (e *execution) makeContext() error {
	lib, o := e.graph.backend.lib, e.options.context
	p := lib.contextDefaults()
	tokens := o.tokens
	if tokens == 0 {
		tokens = min(max(int64(lib.trained(e.model.ptr)), 1), maxDefaultTokens)
	}
	p.setU32(contextTokens, uint32(tokens))
	p.setU32(contextBatch, uint32(min(o.batch, tokens)))
	p.setU32(contextUbatch, uint32(min(o.ubatch, o.batch, tokens)))
	if o.embedding {
		// The average over a text needs all of it in one piece.
		p.setU32(contextUbatch, uint32(min(o.batch, tokens)))
	}
	p.setU32(contextSequences, 1)
	if lib.layout.context {
		o.rest(&p)
	}
	ptr := lib.newContext(e.model.ptr, p)
	if ptr == 0 {
		return fmt.Errorf("context of %d tokens: %s: %w", tokens, e.graph.backend.log.takeError(), accel.ErrInvalidArgument)
	}
	e.ptr = ptr
	threads := o.threads
	if threads == 0 {
		threads = int64(min(runtime.GOMAXPROCS(0), maxThreads))
	}
	batchThreads := o.batchThreads
	if batchThreads == 0 {
		batchThreads = threads
	}
	lib.setThreads(ptr, int32(threads), int32(batchThreads))
	if e.pool = e.graph.backend.pools.take(int32(max(threads, batchThreads))); e.pool != nil {
		lib.attachPool(ptr, e.pool.ptr, e.pool.ptr)
	}
	lib.setAbort(ptr, lib.strlen, e.abort.address())
	lib.setEmbeddings(ptr, o.embedding)
	return nil
}

// rest sets what lies behind the stable part of the parameters.
func (o contextOptions) rest(p *params) {
	for offset, v := range map[int]int64{
		contextRope: o.ropeScaling, contextPooling: o.pooling, contextAttention: o.attention, contextFlash: o.flash,
		contextYarnOrig: o.yarnOrig, contextTypeK: o.typeK, contextTypeV: o.typeV,
	} {
		p.setU32(offset, uint32(v))
	}
	for offset, v := range map[int]float64{
		contextRopeBase: o.ropeBase, contextRopeScale: o.ropeScale, contextYarnExt: o.yarnExt, contextYarnAttn: o.yarnAttn,
		contextYarnFast: o.yarnFast, contextYarnSlow: o.yarnSlow,
	} {
		p.setFloat(offset, float32(v))
	}
	p.setBool(contextOffloadKQV, !o.noKVOffload)
}

// limit is how many tokens the context holds: what was asked for, though the
// library rounds it up.
func (e *execution) limit() int {
	n := int(e.graph.backend.lib.contextSize(e.ptr))
	if asked := e.made.tokens; asked > 0 {
		n = min(n, int(asked))
	}
	return n
}

// tokens is the prompt in tokens.
func (e *execution) tokens() ([]int32, error) {
	lib, text := e.graph.backend.lib, append(e.prompt, 0)
	// No tokenizer makes more tokens than bytes, but for the special ones.
	tokens := make([]int32, len(e.prompt)+16)
	n := lib.tokenize(e.model.vocab, &text[0], int32(len(e.prompt)), &tokens[0], int32(len(tokens)), true, true)
	if n < 0 && n != math.MinInt32 {
		tokens = make([]int32, -n)
		n = lib.tokenize(e.model.vocab, &text[0], int32(len(e.prompt)), &tokens[0], int32(len(tokens)), true, true)
	}
	if n < 0 {
		return nil, fmt.Errorf("prompt of %d bytes cannot be tokenized: %w", len(e.prompt), accel.ErrInvalidArgument)
	}
	if n == 0 {
		return nil, fmt.Errorf("the prompt is empty: %w", accel.ErrInvalidArgument)
	}
	return tokens[:n:n], nil
}
