package ggml

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/runw/runw/pkg/accel"
)

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		metadata string
		want     error
	}{
		{`{}`, nil},
		{`{"unknown":[1,{"a":null}],"model-alias":"default","stream-stdout":true}`, nil},
		{`{"temp":1}`, nil},
		{`{"seed":-1}`, nil},
		{`{"flash-attn":"ON","cache-type-k":"Q8_0"}`, nil},
		{`{"image":"","mmproj":"","tts":false}`, nil},
		{``, accel.ErrInvalidArgument},
		{`null x`, accel.ErrInvalidArgument},
		{`[]`, accel.ErrInvalidArgument},
		{`{"temp":1`, accel.ErrInvalidArgument},
		{`{} {}`, accel.ErrInvalidArgument},
		{`{"temp":"1"}`, accel.ErrInvalidArgument},
		{`{"temp":null}`, accel.ErrInvalidArgument},
		{`{"temp":1e300}`, accel.ErrInvalidArgument},
		{`{"temp":1e999}`, accel.ErrInvalidArgument},
		{`{"top-k":1.5}`, accel.ErrInvalidArgument},
		{`{"top-k":99999999999999999999}`, accel.ErrInvalidArgument},
		{`{"ctx-size":-1}`, accel.ErrInvalidArgument},
		{`{"batch-size":0}`, accel.ErrInvalidArgument},
		{`{"threads":513}`, accel.ErrInvalidArgument},
		{`{"embedding":1}`, accel.ErrInvalidArgument},
		{`{"embedding":"true"}`, accel.ErrInvalidArgument},
		{`{"grammar":"a\u0000b"}`, accel.ErrInvalidArgument},
		{`{"flash-attn":true}`, accel.ErrInvalidArgument},
		{`{"pooling-type":"median"}`, accel.ErrInvalidArgument},
		{`{"cpu-moe":1}`, accel.ErrInvalidArgument},
		{`{"dry-sequence-breakers":"x"}`, accel.ErrInvalidArgument},
		{`{"dry-sequence-breakers":[1]}`, accel.ErrInvalidArgument},
		{`{"json-schema":"{"}`, accel.ErrInvalidArgument},
		{`{"image":"/etc/passwd"}`, accel.ErrUnsupportedOperation},
		{`{"tts":true}`, accel.ErrUnsupportedOperation},
		{`{"reverse-prompt":"` + strings.Repeat("x", maxConfig) + `"}`, accel.ErrTooLarge},
	} {
		o := defaults()
		before := o
		if err := o.merge([]byte(c.metadata)); !errors.Is(err, c.want) {
			t.Errorf("%.80s: %v, want %v", c.metadata, err, c.want)
		} else if err != nil && o != before {
			t.Errorf("%.80s: refused, and yet it changed something", c.metadata)
		}
	}
}

// Each key has an effect on the options, and a wrong type is an error for each.
func TestEachKey(t *testing.T) {
	for key := range keys {
		tried := 0
		for _, value := range []string{`true`, `false`, `7`, `1`, `0.25`, `"none"`, `"cls"`, `"on"`, `"f32"`, `"yarn"`, `"x"`, `["x"]`, `{}`, `"non-causal"`, `"{\"type\":\"null\"}"`} {
			o := defaults()
			err := o.merge([]byte(fmt.Sprintf(`{%q:%s}`, key, value)))
			if err == nil && o != defaults() {
				tried++
			}
			if _, refusing := map[string]bool{"mmproj": true, "image": true, "tts": true, "model-vocoder": true}[key]; refusing {
				tried++
			}
		}
		if tried == 0 {
			t.Errorf("%q changes nothing", key)
		}
		o := defaults()
		if err := o.merge([]byte(fmt.Sprintf(`{%q:{"a":1}}`, key))); err == nil {
			t.Errorf("%q takes an object", key)
		}
	}
}

func FuzzOptions(f *testing.F) {
	f.Add([]byte(`{"temp":0.5,"json-schema":"{\"type\":\"object\",\"properties\":{\"a\":{\"enum\":[1]}}}"}`))
	f.Add([]byte(`{"n-gpu-layers":1e3}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		o := defaults()
		err := o.merge(b)
		var code accel.Errno
		if err != nil && (!errors.As(err, &code) || o != defaults()) {
			t.Errorf("%v, %+v", err, o)
		}
		if c := o.context; c.tokens < 0 || c.batch < 1 || c.ubatch < 1 || c.threads > maxThreads {
			t.Errorf("%+v", c)
		}
	})
}

func TestWrongGrammar(t *testing.T) {
	for _, metadata := range []string{`{"grammar":"root ::= ("}`, `{"grammar":"other ::= \"a\""}`, `{"grammar":"root ::= missing"}`} {
		e := newContext(t, successor(t), metadata)
		input(t, e, 0, "a")
		if err := e.Compute(context.Background()); !errors.Is(err, accel.ErrInvalidArgument) {
			t.Errorf("%s: %v", metadata, err)
		}
	}
}

// What the model says is what the schema wants, though the model knows nothing of it.
func TestSchema(t *testing.T) {
	for _, c := range []struct{ schema, want string }{
		{`{"type":"object","properties":{"b":{"const":"x\"y"},"a":{"type":"boolean"}},"required":["a","b"]}`, ""},
		{`{"type":"array","items":{"enum":["q"]},"minItems":2,"maxItems":2}`, `["q","q"]`},
		{`{"anyOf":[{"const":null}]}`, `null`},
		{`{"type":"string","minLength":3,"maxLength":3}`, ""},
		{`{"type":["null"]}`, `null`},
		{`{"type":"object","additionalProperties":false}`, `{}`},
		{`{"type":"array","maxItems":0}`, `[]`},
		{`{"type":"integer"}`, ""},
	} {
		metadata, err := json.Marshal(map[string]any{"json-schema": c.schema, "temp": 0, "n-predict": 200})
		if err != nil {
			t.Fatal(err)
		}
		e := newContext(t, successor(t), string(metadata))
		input(t, e, 0, "a")
		if err := e.Compute(context.Background()); err != nil {
			t.Fatalf("%s: %v", c.schema, err)
		}
		got := output(t, e, 0)
		if !json.Valid([]byte(got)) || c.want != "" && strings.Join(strings.Fields(got), "") != c.want {
			t.Errorf("%s: %q, want %s", c.schema, got, c.want)
		}
	}
	for _, schema := range []string{`{"$ref":"#"}`, `{"type":"thing"}`, `{"enum":[]}`, `7`, `{"type":"string","minLength":2,"maxLength":1}`,
		`{"type":"array","maxItems":100000}`, strings.Repeat(`{"items":`, 40) + `true` + strings.Repeat(`}`, 40),
		strings.Repeat(`{"type":"array","items":`, 40) + `true` + strings.Repeat(`}`, 40)} {
		o := defaults()
		if err := schemaGrammar(&o, schema); err == nil && !strings.HasPrefix(schema, `{"items"`) {
			t.Errorf("%.60s was accepted", schema)
		}
	}
}
