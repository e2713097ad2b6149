package ggml

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"runtime"

	"github.com/runw/runw/pkg/accel"
)

// vector is output 0 of an embedding.
type vector struct {
	Length int       `json:"n_embedding"`
	Values []float32 `json:"embedding"`
}

// embed computes the embedding of the prompt, of length 1 in the Euclidean norm.
// How the tokens' vectors become one is pooling-type or the model's own; for
// "none" it is the last token's.
func (e *execution) embed(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", err, accel.ErrRuntime)
	}
	defer e.abort.watch(ctx, 1)()
	if err := e.ready(ctx); err != nil {
		return err
	}
	lib := e.graph.backend.lib
	tokens, err := e.tokens()
	if err != nil {
		return err
	}
	e.output, e.single = nil, nil
	e.counted = counters{Input: len(tokens), Commit: clean(lib.commit()), Version: clean(lib.version())}
	if most := min(e.limit(), int(lib.batchSize(e.ptr))); len(tokens) > most {
		return fmt.Errorf("text of %d tokens, at most %d: %w", len(tokens), most, accel.ErrPromptTooLong)
	}
	// Nothing of the text before may be seen; a model without a memory has none.
	if memory := lib.memory(e.ptr); memory != 0 {
		lib.memoryClear(memory, false)
	}
	run := lib.decode
	if lib.hasEncoder(e.model.ptr) && !lib.hasDecoder(e.model.ptr) {
		run = lib.encode
	}
	status := run(e.ptr, lib.batchOf(&tokens[0], int32(len(tokens))))
	runtime.KeepAlive(tokens) // the batch holds their address as a number
	if status != 0 || ctx.Err() != nil {
		return e.decodeError(ctx, status, len(tokens))
	}
	values, err := e.pooled()
	if err != nil {
		return err
	}
	normalize(values)
	e.output, err = json.Marshal(vector{len(values), values})
	if err != nil { // an infinity or no number
		return fmt.Errorf("embedding: %w: %w", err, accel.ErrRuntime)
	}
	return nil
}

// pooled copies the vector from the library.
func (e *execution) pooled() ([]float32, error) {
	const none, rank = 0, 4
	lib := e.graph.backend.lib
	length := int(lib.embedding(e.model.ptr))
	var p *float32
	switch lib.pooling(e.ptr) {
	case rank: // a score, of a length this binding does not ask for
		return nil, fmt.Errorf("pooling type rank: %w", accel.ErrUnsupportedOperation)
	case none:
		p = lib.embeddingOfToken(e.ptr, -1)
	default:
		p = lib.embeddingOf(e.ptr, 0)
	}
	if p == nil || length <= 0 {
		return nil, fmt.Errorf("the model gave no embedding: %s: %w", e.graph.backend.log.takeError(), accel.ErrRuntime)
	}
	return copied(p, length), nil
}

func normalize(values []float32) {
	sum := 0.0
	for _, v := range values {
		sum += float64(v) * float64(v)
	}
	if sum == 0 {
		return
	}
	scale := 1 / math.Sqrt(sum)
	for i, v := range values {
		values[i] = float32(float64(v) * scale)
	}
}
