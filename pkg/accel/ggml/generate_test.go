package ggml

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/runw/runw/pkg/accel"
	"github.com/runw/runw/pkg/accel/ggml/gguf"
)

// count reads output 1.
func count(t *testing.T, c accel.Context) counters {
	t.Helper()
	var n counters
	if err := json.Unmarshal([]byte(output(t, c, 1)), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestText(t *testing.T) {
	for _, c := range []struct {
		name, config, prompt, want string
		input                      int
		err                        error
	}{
		{"as many as asked for", `{"n-predict":12}`, "abc", "defghijklmno", 4, nil},
		{"to the end", `{}`, "abc", "defghijklmnopqrstuvwxyz", 4, nil},
		{"nothing asked for", `{"n-predict":0}`, "abc", "", 4, nil},
		{"nothing to say", `{}`, "z", "", 2, nil},
		{"greedy", `{"temp":0,"n-predict":3}`, "x", "yz", 2, nil},
		{"a phrase that ends it", `{"reverse-prompt":"fgh"}`, "a", "bcdefgh", 2, nil},
		{"past the end", `{"ignore-eos":true,"temp":0,"n-predict":2}`, "z", "<unk>a", 2, nil},
		{"a grammar", `{"grammar":"root ::= \"b\" \"9\"","n-predict":9}`, "a", "b9", 2, nil},
		{"bytes of characters", `{"n-predict":4}`, "é", "éé", 3, nil},
		{"no penalty for the prompt", `{"n-predict":3,"temp":0}`, "012", "345", 4, nil},
		{"a penalty for what was said", `{"n-predict":10,"temp":0,"presence-penalty":1000}`, "0", "123456789<unk>", 2, nil},
		{"mirostat", `{"mirostat":2,"n-predict":3}`, "abc", "def", 4, nil},
		{"mirostat 1", `{"mirostat":1,"n-predict":3}`, "abc", "def", 4, nil},
		{"every sampler", `{"top-k":5,"top-p":0.9,"min-p":0.1,"typ-p":0.9,"xtc-probability":0.5,"xtc-threshold":0.2,"dry-multipier":0.5,
			"dry-sequence-breakers":["x"],"dynatemp-range":0.1,"presence-penalty":0.1,"frequency-penalty":0.1,"last-n-penalty":-1,"seed":7,"min-keep":1,
			"top-n-sigma":1,"n-predict":3}`, "abc", "def", 4, nil},
		{"a full context", `{"ctx-size":16,"temp":0}`, "0123456", "7890123456"[:9], 8, accel.ErrContextFull},
		{"a shifting context", `{"ctx-size":16,"temp":0,"ctx-shift":true,"n-predict":30}`, "0123", "456789012345678901234567890123", 5, nil},
		{"other types of the cache", `{"cache-type-k":"q8_0","cache-type-v":"q8_0","flash-attn":"on","n-predict":3}`, "abc", "def", 4, nil},
		{"positions", `{"rope-freq-base":20000,"rope-freq-scale":0.5,"rope-scaling-type":"linear","n-predict":3}`, "abc", "def", 4, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newContext(t, successor(t), c.config)
			input(t, e, 0, c.prompt)
			if err := e.Compute(context.Background()); !errors.Is(err, c.err) {
				t.Fatalf("error %v, want %v", err, c.err)
			}
			if got := output(t, e, 0); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
			n := count(t, e)
			made := len(strings.ReplaceAll(c.want, "<unk>", "?"))
			if n.Input != c.input || n.Output != made || n.Commit == "" || n.Version == "" {
				t.Errorf("counters %+v, want %d and %d tokens", n, c.input, made)
			}
		})
	}
}

func TestStreaming(t *testing.T) {
	e := newContext(t, successor(t), `{"temp":0}`)
	input(t, e, 0, "é")
	input(t, e, 1, `{"n-predict":4}`)
	for round := range 2 { // the end resets the state
		var parts []string
		for {
			err := e.ComputeSingle(context.Background())
			if errors.Is(err, accel.ErrEndOfSequence) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			part, err := e.OutputSingle(0)
			if err != nil {
				t.Fatal(err)
			}
			parts = append(parts, string(part))
			counts, err := e.OutputSingle(1)
			if err != nil || !strings.Contains(string(counts), `"output_tokens":`) {
				t.Fatalf("counters %s, %v", counts, err)
			}
		}
		if got := strings.Join(parts, "|"); got != "\xc3|\xa9|\xc3|\xa9" {
			t.Errorf("round %d: %q", round, got)
		}
	}
	if err := e.FinishSingle(); err != nil {
		t.Fatal(err)
	}
	if _, err := e.OutputSingle(0); !errors.Is(err, accel.ErrRuntime) {
		t.Errorf("output after the end: %v", err)
	}
	if got := output(t, e, 0); got != "éé" {
		t.Errorf("whole text %q", got)
	}
}

// A chat sends all of it again each turn. What is known is not computed again, and
// what comes out is what a new context says.
func TestTurns(t *testing.T) {
	model := random(t)
	const config = `{"temp":0,"n-predict":6}`
	chat := newContext(t, model, config)
	say := func(e accel.Context, text string) (string, counters) {
		input(t, e, 0, text)
		if err := e.Compute(context.Background()); err != nil {
			t.Fatal(err)
		}
		return output(t, e, 0), count(t, e)
	}
	for _, c := range []struct {
		text   string
		cached int
	}{
		{"a first question", 0},
		{"a first question and another", 1 + len("a first question")},
		{"a first question", len("a first question")}, // the last token is always read
		{"a first answer", 1 + len("a first ")},
		{"something else", 1},
	} {
		got, n := say(chat, c.text)
		fresh, _ := say(newContext(t, model, config), c.text)
		if got != fresh {
			t.Errorf("%q: %q, a new context says %q", c.text, got, fresh)
		}
		if n.Cached != c.cached || n.Input != 1+len(c.text) {
			t.Errorf("%q: %d of %d tokens known, want %d", c.text, n.Cached, n.Input, c.cached)
		}
	}
}

// The answer is part of the next turn's text: it is known as well.
func TestTurnWithAnswer(t *testing.T) {
	e := newContext(t, successor(t), `{"n-predict":4}`)
	for _, c := range []struct {
		text, want string
		cached     int
	}{{"ab", "cdef", 0}, {"abcdef.g", "hijk", 1 + len("abcde")}} {
		input(t, e, 0, c.text)
		if err := e.Compute(context.Background()); err != nil {
			t.Fatal(err)
		}
		if got, n := output(t, e, 0), count(t, e); got != c.want || n.Cached != c.cached {
			t.Errorf("%q: %q, %d known; want %q, %d", c.text, got, n.Cached, c.want, c.cached)
		}
	}
}

func TestPromptTooLong(t *testing.T) {
	for _, c := range []struct {
		length int
		want   error
	}{{64 - 4 - 1, nil}, {64 - 4, accel.ErrPromptTooLong}, {5000, accel.ErrPromptTooLong}} {
		e := newContext(t, successor(t), `{"ctx-size":64,"n-predict":1}`)
		input(t, e, 0, strings.Repeat("a", c.length))
		if err := e.Compute(context.Background()); !errors.Is(err, c.want) {
			t.Errorf("%d bytes: %v, want %v", c.length, err, c.want)
		}
		if err := e.ComputeSingle(context.Background()); !errors.Is(err, c.want) {
			t.Errorf("%d bytes, by steps: %v, want %v", c.length, err, c.want)
		}
		input(t, e, 0, "abc") // and the context lives
		if err := e.Compute(context.Background()); err != nil || output(t, e, 0) != "d" {
			t.Errorf("after it: %v", err)
		}
	}
}

func TestEmbedding(t *testing.T) {
	for _, c := range []struct {
		name, config string
		want         map[int]float64 // before it is made of length 1
	}{
		{"mean", `{"embedding":true,"pooling-type":"mean"}`, map[int]float64{gguf.TokenBegin: 1, gguf.Token('a'): 2, gguf.Token('b'): 1}},
		{"last", `{"embedding":true,"pooling-type":"last"}`, map[int]float64{gguf.Token('b'): 1}},
		{"first", `{"embedding":true,"pooling-type":"cls"}`, map[int]float64{gguf.TokenBegin: 1}},
		{"the model's", `{"embedding":true}`, map[int]float64{gguf.Token('b'): 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newContext(t, successor(t), c.config)
			for range 2 { // the second is not to see the first
				input(t, e, 0, "aab")
				if err := e.Compute(context.Background()); err != nil {
					t.Fatal(err)
				}
			}
			var v vector
			if err := json.Unmarshal([]byte(output(t, e, 0)), &v); err != nil {
				t.Fatal(err)
			}
			length := 0.0
			for _, n := range c.want {
				length += n * n
			}
			if v.Length != gguf.Small.Dim || len(v.Values) != v.Length {
				t.Fatalf("%d of %d values", len(v.Values), v.Length)
			}
			for i, got := range v.Values {
				if want := c.want[i] / math.Sqrt(length); math.Abs(float64(got)-want) > 1e-4 {
					t.Errorf("value %d is %g, want %g", i, got, want)
				}
			}
			if n := count(t, e); n.Input != 4 || n.Output != 0 {
				t.Errorf("counters %+v", n)
			}
			if err := e.ComputeSingle(context.Background()); !errors.Is(err, accel.ErrUnsupportedOperation) {
				t.Errorf("a step: %v", err)
			}
			// Back to text, on the same context.
			input(t, e, 1, `{"embedding":false,"n-predict":2}`)
			if err := e.Compute(context.Background()); err != nil || output(t, e, 0) != "cd" {
				t.Errorf("text after it: %v", err)
			}
		})
	}
	e := newContext(t, successor(t), `{"embedding":true,"ctx-size":64}`)
	input(t, e, 0, strings.Repeat("a", 64))
	if err := e.Compute(context.Background()); !errors.Is(err, accel.ErrPromptTooLong) {
		t.Errorf("a text too long: %v", err)
	}
}

// The end of a context ends the library's work in the middle of a batch.
func TestCancel(t *testing.T) {
	model := random(t)
	e := newContext(t, model, `{"temp":0,"n-predict":1,"batch-size":4096}`)
	input(t, e, 0, strings.Repeat("a long text ", 300)) // many seconds of work
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	err := e.Compute(ctx)
	if !errors.Is(err, accel.ErrRuntime) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("error %v", err)
	}
	if err := e.ComputeSingle(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a step after it: %v", err)
	}
	input(t, e, 0, "ab")
	if err := e.Compute(context.Background()); err != nil {
		t.Fatalf("after it: %v", err)
	}
	got := output(t, e, 0)
	fresh := newContext(t, model, `{"temp":0,"n-predict":1}`)
	input(t, fresh, 0, "ab")
	if err := fresh.Compute(context.Background()); err != nil || output(t, fresh, 0) != got {
		t.Errorf("%q after it, %q from a new context: %v", got, output(t, fresh, 0), err)
	}
	ended, stop := context.WithCancel(context.Background())
	stop()
	if _, err := backend(t).Load(ended, accel.Model{Files: nil}); err == nil {
		t.Error("loaded nothing")
	}
}
