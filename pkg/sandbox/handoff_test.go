package sandbox

import (
	"errors"
	"reflect"
	"testing"
)

var fullHandoff = Handoff{
	ID:     "c1",
	Engine: "wazero",
	Args:   []string{"/app.wasm", "", "-x=\x00\xff"},
	Env:    []string{"_LIBCONTAINER_INITPIPE=9", "GODEBUG=x"},
	Preopens: []Preopen{
		{Name: ".", Path: "/work"},
		{Name: "/", Path: "/", ReadOnly: true},
	},
	Entry:       "run",
	Inherited:   2,
	Artifact:    true,
	MemoryLimit: 1 << 40,
	Trace:       true,
	Inference:   true,
	Net:         "listen,10.0.0.0/8:443",
	Models:      []Model{{"default", 6, 3, "/m.gguf"}, {"x", 1 << 31, 1<<32 - 1, "/"}},
	Metrics:     true,
}

func TestHandoffRoundTrip(t *testing.T) {
	for name, h := range map[string]Handoff{"full": fullHandoff, "zero": {}} {
		t.Run(name, func(t *testing.T) {
			got, err := DecodeHandoff(h.Encode())
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(*got, h) {
				t.Errorf("got %+v, want %+v", *got, h)
			}
		})
	}
}

func TestDecodeHandoffRefuses(t *testing.T) {
	whole := fullHandoff.Encode()
	huge := append([]byte(handoffMagic), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01)
	cases := map[string][]byte{
		"empty":          nil,
		"other version":  []byte("runw\x00\x00"),
		"trailing byte":  append(append([]byte(nil), whole...), 0),
		"length of 2^64": huge,
		"too big":        make([]byte, maxHandoff+1),
	}
	for n := range whole {
		if _, err := DecodeHandoff(whole[:n]); !errors.Is(err, ErrHandoff) {
			t.Errorf("first %d of %d bytes: error is %v", n, len(whole), err)
		}
	}
	for name, b := range cases {
		if _, err := DecodeHandoff(b); !errors.Is(err, ErrHandoff) {
			t.Errorf("%s: error is %v", name, err)
		}
	}
}

// FuzzDecodeHandoff: whatever decodes must encode to something that decodes to
// the same, and nothing may panic or allocate beyond its input.
func FuzzDecodeHandoff(f *testing.F) {
	f.Add(fullHandoff.Encode())
	f.Add((&Handoff{}).Encode())
	f.Add([]byte(handoffMagic + "\x01a\x00\xff\xff\xff\x7f"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := DecodeHandoff(b)
		if err != nil {
			if !errors.Is(err, ErrHandoff) {
				t.Fatalf("error %v is no ErrHandoff", err)
			}
			return
		}
		again, err := DecodeHandoff(h.Encode())
		if err != nil || !reflect.DeepEqual(again, h) {
			t.Fatalf("%+v came back as %+v (%v)", h, again, err)
		}
	})
}
