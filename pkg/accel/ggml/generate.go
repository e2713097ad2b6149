package ggml

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/runw/runw/pkg/accel"
)

// generation is a text in the making; the zero value is none.
type generation struct {
	active bool
	// next is the token that was made last and that the library has not seen.
	next    int32
	hasNext bool
	made    int
	ended   bool
}

// is reports whether an error carries the code.
func is(err error, code accel.Errno) bool {
	var e accel.Errno
	return errors.As(err, &e) && e == code
}

// step makes one token and appends its bytes to the output.
func (e *execution) step(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", err, accel.ErrRuntime)
	}
	defer e.abort.watch(ctx, 1)()
	if !e.run.active {
		if err := e.begin(ctx); err != nil {
			return err
		}
	}
	o := e.options.run
	if e.run.ended || o.predict >= 0 && e.run.made >= int(o.predict) {
		return accel.ErrEndOfSequence
	}
	lib := e.graph.backend.lib
	if e.run.hasNext {
		if err := e.makeRoom(); err != nil {
			return err
		}
		if err := e.decode(ctx, []int32{e.run.next}); err != nil {
			return err
		}
		e.run.hasNext = false
	}
	token := lib.sample(e.sampler.ptr, e.ptr, -1)
	if lib.isEnd(e.model.vocab, token) && o.predict != -2 {
		return accel.ErrEndOfSequence
	}
	e.single = e.piece(token)
	e.output = append(e.output, e.single...)
	e.run.next, e.run.hasNext = token, true
	e.run.made++
	e.counted.Output = e.run.made
	// The token that completes the phrase is still given: nothing is lost.
	e.run.ended = o.reversePrompt != "" && bytes.HasSuffix(e.output, []byte(o.reversePrompt))
	return nil
}

// begin has the model read the prompt, but for what it still knows of it.
func (e *execution) begin(ctx context.Context) error {
	if err := e.ready(ctx); err != nil {
		return err
	}
	lib, b := e.graph.backend.lib, e.graph.backend
	if lib.hasEncoder(e.model.ptr) || !lib.hasDecoder(e.model.ptr) {
		return fmt.Errorf("a model with an encoder gives embeddings only: %w", accel.ErrUnsupportedOperation)
	}
	tokens, err := e.tokens()
	if err != nil {
		return err
	}
	e.output, e.single = []byte{}, nil
	e.counted = counters{Input: len(tokens), Commit: clean(lib.commit()), Version: clean(lib.version())}
	if most := e.limit() - 4; len(tokens) > most {
		return fmt.Errorf("prompt of %d tokens, at most %d: %w", len(tokens), most, accel.ErrPromptTooLong)
	}
	same := 0
	for same < len(tokens)-1 && same < len(e.kept) && tokens[same] == e.kept[same] {
		same++ // the last token is always read: what follows it is wanted
	}
	same = e.keep(same)
	e.counted.Cached = same
	if e.options.run.log {
		b.say(fmt.Sprintf("prompt of %d tokens, %d of them known", len(tokens), same))
	}
	if err := e.decode(ctx, tokens[same:]); err != nil {
		return err
	}
	e.sampler.reset(tokens)
	e.run = generation{active: true}
	return nil
}

// keep makes the library forget all but the first n tokens it knows, and says how
// many it kept: a recurrent model cannot forget a part.
func (e *execution) keep(n int) int {
	if n == len(e.kept) {
		return n
	}
	lib := e.graph.backend.lib
	memory := lib.memory(e.ptr)
	if memory == 0 || n == 0 || !lib.memoryRemove(memory, 0, int32(n), -1) {
		n = 0
		if memory != 0 {
			lib.memoryClear(memory, false)
		}
	}
	e.kept = e.kept[:n]
	return n
}

// decode has the model read tokens, a batch at a time. When it fails or is
// stopped, what the library knows is brought back to what it knew before.
func (e *execution) decode(ctx context.Context, tokens []int32) error {
	lib := e.graph.backend.lib
	size := int(lib.batchSize(e.ptr))
	for len(tokens) > 0 {
		n := min(size, len(tokens))
		part := tokens[:n:n]
		before := len(e.kept)
		status := lib.decode(e.ptr, lib.batchOf(&part[0], int32(n)))
		runtime.KeepAlive(tokens) // the batch holds their address as a number
		if status != 0 || ctx.Err() != nil {
			e.kept = append(e.kept, part...) // of which some may have been read
			e.keep(before)
			return e.decodeError(ctx, status, n)
		}
		e.kept = append(e.kept, part...)
		tokens = tokens[n:]
	}
	return nil
}

func (e *execution) decodeError(ctx context.Context, status int32, n int) error {
	const noRoom = 1
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", err, accel.ErrRuntime)
	}
	if status == noRoom {
		return fmt.Errorf("no room for %d tokens: %w", n, accel.ErrContextFull)
	}
	return fmt.Errorf("llama_decode of %d tokens: status %d: %s: %w", n, status, e.graph.backend.log.takeError(), accel.ErrRuntime)
}

// makeRoom is called before one more token is read. A full context is an error,
// or with ctx-shift loses the older half of what is not to be kept.
func (e *execution) makeRoom() error {
	if len(e.kept) < e.limit() {
		return nil
	}
	lib := e.graph.backend.lib
	memory := lib.memory(e.ptr)
	first := int(e.options.run.keep)
	if first < 0 || first > len(e.kept) {
		first = min(e.counted.Input, len(e.kept))
	}
	gone := (len(e.kept) - first) / 2
	if !e.options.run.shift || memory == 0 || gone == 0 || !lib.canShift(memory) {
		return accel.ErrContextFull
	}
	if !lib.memoryRemove(memory, 0, int32(first), int32(first+gone)) {
		return accel.ErrContextFull
	}
	lib.memoryShift(memory, 0, int32(first+gone), int32(len(e.kept)), int32(-gone))
	e.kept = append(e.kept[:first], e.kept[first+gone:]...)
	return nil
}

// piece is the token's bytes: a part of a character, perhaps.
func (e *execution) piece(token int32) []byte {
	lib := e.graph.backend.lib
	buf := make([]byte, 64)
	n := lib.piece(e.model.vocab, token, &buf[0], int32(len(buf)), 0, true)
	if n < 0 {
		buf = make([]byte, -n)
		n = lib.piece(e.model.vocab, token, &buf[0], int32(len(buf)), 0, true)
	}
	return buf[:max(n, 0)]
}
