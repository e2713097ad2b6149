package wire

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/runw/runw/pkg/accel"
	"golang.org/x/sys/unix"
)

func TestRequestRoundTrip(t *testing.T) {
	for _, r := range []request{
		{op: opWorker, seq: 1},
		{op: opLoad, seq: 2, handle: 7, a: 6, b: 3, n: 1 << 10},
		{op: opNewContext, handle: 7, a: 8},
		{op: opSetInput, handle: 8, a: 1 << 31, b: 5, c: MaxDims, n: 1 << 20},
		{op: opOutput, handle: 8, n: 1<<64 - 1},
		{op: opCloseContext, handle: 1<<32 - 1},
	} {
		b := r.encode()
		got, err := decodeRequest(b[:], 1<<20)
		if err != nil || got != r {
			t.Errorf("%+v becomes %+v, %v", r, got, err)
		}
	}
}

func TestRequestRefused(t *testing.T) {
	bytesOf := func(r request) []byte { b := r.encode(); return b[:] }
	valid := bytesOf(request{op: opCompute, handle: 1})
	for name, b := range map[string][]byte{
		"empty":                nil,
		"short":                valid[:requestSize-1],
		"long":                 append(slices.Clone(valid), 0),
		"another version":      append([]byte("rnn\x02"), valid[4:]...),
		"padding":              slices.Concat(valid[:28], []byte{1}, valid[29:]),
		"no operation":         bytesOf(request{handle: 1}),
		"unknown operation":    bytesOf(request{op: opWorker + 1}),
		"a field not used":     bytesOf(request{op: opCompute, handle: 1, n: 1}),
		"data without room":    bytesOf(request{op: opSetInput, handle: 1, n: 1<<20 + 1}),
		"a huge length":        bytesOf(request{op: opSetInput, handle: 1, n: 1<<64 - 1}),
		"too many dimensions":  bytesOf(request{op: opSetInput, handle: 1, c: MaxDims + 1}),
		"type beyond a byte":   bytesOf(request{op: opSetInput, handle: 1, b: 256}),
		"configuration bounds": bytesOf(request{op: opLoad, handle: 1, n: MaxConfig + 1}),
	} {
		if r, err := decodeRequest(b, 1<<20); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

func message(list ...request) (b []byte) {
	for _, r := range list {
		one := r.encode()
		b = append(b, one[:]...)
	}
	return b
}

func TestMessagePlaces(t *testing.T) {
	input := request{op: opSetInput, handle: 1, n: 100}
	empty := request{op: opSetInput, handle: 1}
	list, err := decodeMessage(nil, message(input, empty, input, request{op: opCompute, handle: 1}), 1<<10)
	if err != nil {
		t.Fatal(err)
	}
	var places []place
	for i := range list {
		places = append(places, list[i].at)
	}
	want := []place{{0, dataOffset}, {256, dataOffset + 128}, {512, dataOffset + 128}, {768, dataOffset + 256}}
	if !slices.Equal(places, want) {
		t.Errorf("%v, want %v", places, want)
	}
	most := slices.Repeat([]request{input}, maxInputs)
	if list, err := decodeMessage(list, message(append(most, request{op: opComputeSingle, handle: 1})...), 1<<20); err != nil || len(list) != maxInputs+1 {
		t.Errorf("%d requests, %v", len(list), err)
	}
}

func TestMessageRefused(t *testing.T) {
	input := request{op: opSetInput, handle: 1, n: 100}
	compute := request{op: opCompute, handle: 1}
	for name, b := range map[string][]byte{
		"empty":                     nil,
		"half a request":            message(input, compute)[:requestSize+20],
		"two calls":                 message(compute, compute),
		"input after compute":       message(compute, input),
		"another context":           message(input, request{op: opCompute, handle: 2}),
		"an output after inputs":    message(input, request{op: opOutput, handle: 1}),
		"a load after inputs":       message(input, request{op: opLoad, handle: 1}),
		"inputs without room":       message(slices.Repeat([]request{input}, 9)...),
		"a length that wraps":       message(input, request{op: opSetInput, handle: 1, n: 1<<64 - dataOffset}),
		"too many inputs":           message(slices.Repeat([]request{{op: opSetInput, handle: 1}}, maxInputs+1)...),
		"beyond a segment's end":    message(request{op: opSetInput, handle: 1, n: 1001}, compute),
		"a request that is refused": message(input, request{op: opCompute, handle: 1, n: 1}),
	} {
		if list, err := decodeMessage(nil, b, 1001); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %+v, %v", name, list, err)
		}
	}
}

func TestReplyRoundTrip(t *testing.T) {
	for _, r := range []reply{
		{seq: 3, value: 1 << 40},
		{seq: 1<<32 - 1, errno: accel.ErrModelNotFound, ending: true, text: []byte("a\nb")},
	} {
		got, err := decodeReply(r.encode())
		if err != nil || got.seq != r.seq || got.errno != r.errno || got.ending != r.ending ||
			got.value != r.value || !bytes.Equal(got.text, r.text) {
			t.Errorf("%+v becomes %+v, %v", r, got, err)
		}
	}
	long := reply{text: bytes.Repeat([]byte("x"), 2*maxText)}
	if got, err := decodeReply(long.encode()); err != nil || len(got.text) != maxText {
		t.Errorf("%d bytes of text, %v", len(got.text), err)
	}
}

func TestReplyRefused(t *testing.T) {
	valid := (&reply{text: []byte("x")}).encode()
	patch := func(at int, v byte) []byte { b := slices.Clone(valid); b[at] = v; return b }
	for name, b := range map[string][]byte{
		"empty":         nil,
		"short":         valid[:replyHeader-1],
		"long":          make([]byte, maxReply+1),
		"version":       patch(3, 9),
		"flags":         patch(4, 2),
		"errno 9":       patch(12, 9),
		"errno 104":     patch(12, 104),
		"text too long": patch(16, 2),
		"padding":       patch(20, 1),
	} {
		if r, err := decodeReply(b); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

func TestParseLimits(t *testing.T) {
	for s, want := range map[string]Limits{
		"":                   DefaultLimits(),
		"graphs=1":           {1, 32, 1 << 30, 10 * time.Minute},
		"time=1.5s, bytes=8": {},
		"bytes=4KiB,time=1ms,contexts=16384,graphs=1024": {1024, 16384, 4 << 10, time.Millisecond},
		"bytes=4GiB,time=24h":                            {8, 32, 4 << 30, 24 * time.Hour},
		"bytes=4294967296":                               {8, 32, 4 << 30, 10 * time.Minute},
	} {
		got, err := ParseLimits(s)
		if want == (Limits{}) {
			if !errors.Is(err, ErrLimits) {
				t.Errorf("%q: %v, %v", s, got, err)
			}
			continue
		}
		if err != nil || got != want {
			t.Errorf("%q is %v, %v", s, got, err)
		}
		if again, err := ParseLimits(got.String()); err != nil || again != got {
			t.Errorf("%q is %v, %v", got.String(), again, err)
		}
	}
	for s, part := range map[string]string{
		"graphs":               "want KEY=VALUE",
		"graphs=0":             "between 1 and 1024",
		"graphs=-1":            "no number",
		"graphs=1025":          "between 1 and 1024",
		"contexts=99999":       "between 1 and 16384",
		"bytes=5GiB":           "is not between",
		"bytes=1":              "is not between",
		"bytes=8589934591GiB":  "is not between",
		"bytes=99999999999999": "no number",
		"bytes=1GB":            "no number",
		"time=10":              "missing unit",
		"time=0s":              "is not between",
		"time=48h":             "is not between",
		"graphs=1,graphs=2":    "given twice",
		"memory=1GiB":          "unknown",
		"graphs=1,":            "want KEY=VALUE",
	} {
		if _, err := ParseLimits(s); !errors.Is(err, ErrLimits) || !strings.Contains(err.Error(), part) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

// What the other side calls a segment must not end this process.
func TestMapSegment(t *testing.T) {
	make := func(size int64, seals int) int {
		fd, err := unix.MemfdCreate("segment", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
		if err == nil {
			err = unix.Ftruncate(fd, size)
		}
		if err == nil {
			_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		return fd
	}
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(null)
	for name, fd := range map[string]int{
		"a device":      null,
		"can be shrunk": make(1<<20, unix.F_SEAL_GROW),
		"can grow":      make(1<<20, unix.F_SEAL_SHRINK),
		"read-only":     make(1<<20, segmentSeals|unix.F_SEAL_WRITE),
		"empty":         make(0, segmentSeals),
		"no data":       make(dataOffset, segmentSeals),
		"enormous":      make(maxSegment+1, segmentSeals),
	} {
		if mem, err := mapSegment(fd); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %d bytes, %v", name, len(mem), err)
		}
	}
	if _, err := newSegment(maxBytes + 1); !errors.Is(err, unix.EFBIG) {
		t.Error(err)
	}
}
