package wire

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/runw/runw/pkg/accel"
)

// ErrProtocol is wrapped by every error about a message that the peer must not
// have sent.
var ErrProtocol = errors.New("protocol error")

// op says what a request asks for.
type op uint32

const (
	opLoad op = iota + 1
	opUnload
	opNewContext
	opSetInput
	opCompute
	opOutput
	opComputeSingle
	opOutputSingle
	opFinishSingle
	opCloseContext
	// opWorker goes to the supervisor, all others to a worker.
	opWorker
)

// ops says of each operation what it is called and which fields of a request it
// uses; the others are zero.
var ops = [...]struct {
	name   string
	fields fields
}{
	opLoad:          {"load", fieldHandle | fieldA | fieldB | fieldN},
	opUnload:        {"unload", fieldHandle},
	opNewContext:    {"init_execution_context", fieldHandle | fieldA},
	opSetInput:      {"set_input", fieldHandle | fieldA | fieldB | fieldC | fieldN},
	opCompute:       {"compute", fieldHandle | fieldA | fieldC | fieldN},
	opOutput:        {"get_output", fieldHandle | fieldA | fieldN},
	opComputeSingle: {"compute_single", fieldHandle | fieldA | fieldC | fieldN},
	opOutputSingle:  {"get_output_single", fieldHandle | fieldA | fieldN},
	opFinishSingle:  {"fini_single", fieldHandle},
	opCloseContext:  {"finalize_execution_context", fieldHandle},
	opWorker:        {"start", 0},
}

func (o op) known() bool { return o >= opLoad && int(o) < len(ops) }

// asks says that the answer may have an output.
func (o op) asks() bool {
	return o == opCompute || o == opComputeSingle || o == opOutput || o == opOutputSingle
}

// String is the guest's name for it.
func (o op) String() string {
	if o.known() {
		return ops[o].name
	}
	return fmt.Sprintf("operation %d", uint32(o))
}

type fields uint8

const (
	fieldHandle fields = 1 << iota
	fieldA
	fieldB
	fieldC
	fieldN
)

// request is a call:
//
//	              handle       a              b          c           n
//	load          new graph    encoding       target                 config's length
//	init          graph        new context
//	set_input     context      index          type       dimensions  data's length
//	compute*      context      index                     1           room for it
//	get_output*   context      index                                 room for it
//	others        graph or context
//
// With c, compute* also does what get_output* of that index would, if it succeeds.
// Models are descriptors beside it; configs and data lie in the segment at
// dataOffset, dimensions, 4 bytes each, at its beginning.
//
// A message is one request, or inputs of one context and after them, perhaps, a
// compute* of it. The first that fails is the last that is done; the answer is
// one, to the last. Each input has a place of its own in the segment.
type request struct {
	op      op
	seq     uint32
	handle  uint32
	a, b, c uint32
	n       uint64
	// at is what follows from the requests before it and is not sent.
	at place
}

// place is where in the segment an input's dimensions and data begin, in bytes.
type place struct{ dims, data uint64 }

// firstPlace is that of the only input, or of a config.
var firstPlace = place{0, dataOffset}

// after is the place behind that of r, on a cache line of its own.
func (p place) after(r *request) place {
	return place{p.dims + 4*MaxDims, (p.data + r.n + 63) &^ 63}
}

// follows says that r may stand behind an input in a message.
func (r *request) follows(input *request) bool {
	return input.op == opSetInput && r.handle == input.handle &&
		(r.op == opSetInput || r.op == opCompute || r.op == opComputeSingle)
}

// The messages' bytes, all numbers little-endian. The last byte of the magic is
// the version.
//
//	request  magic, op, seq, handle, a, b, c, 0: 4 bytes each; n: 8
//	reply    magic, flags, seq, errno, length of text, 0: 4 bytes each; value: 8; text
const (
	magic       = uint32('r') | uint32('n')<<8 | uint32('n')<<16 | 1<<24
	requestSize = 40
	replyHeader = 32
	// maxText bounds the lines for the container's stderr in one reply.
	maxText  = 4096
	maxReply = replyHeader + maxText
	// maxFiles bounds the parts of a model.
	maxFiles = 4
	// maxInputs is how many inputs a message can have: there is room in the segment
	// for the dimensions of so many.
	maxInputs  = dataOffset / (4 * MaxDims)
	maxMessage = (maxInputs + 1) * requestSize
)

// Bounds of what a request names.
const (
	// MaxDims is more than any library has.
	MaxDims = 64
	// MaxConfig bounds the metadata of a model, in bytes.
	MaxConfig = 1 << 20
)

func (r *request) encode() [requestSize]byte {
	var b [requestSize]byte
	for i, v := range [...]uint32{magic, uint32(r.op), r.seq, r.handle, r.a, r.b, r.c} {
		binary.LittleEndian.PutUint32(b[4*i:], v)
	}
	binary.LittleEndian.PutUint64(b[32:], r.n)
	return b
}

// decodeMessage reads the requests of a message for a segment that has room for so
// many bytes of data, into the memory of list.
func decodeMessage(list []request, b []byte, room uint64) ([]request, error) {
	list = list[:0]
	at, end := firstPlace, dataOffset+room
	for {
		if at.data > end {
			return nil, fmt.Errorf("%w: inputs that the segment has no room for", ErrProtocol)
		}
		one := b[:min(len(b), requestSize)]
		r, err := decodeRequest(one, end-at.data)
		if err != nil {
			return nil, err
		}
		r.at = at
		if n := len(list); n > 0 && !r.follows(&list[n-1]) {
			return nil, fmt.Errorf("%w: %s after %s", ErrProtocol, r.op, list[n-1].op)
		}
		if r.op == opSetInput && len(list) == maxInputs {
			return nil, fmt.Errorf("%w: more than %d inputs", ErrProtocol, maxInputs)
		}
		list = append(list, r)
		if b = b[len(one):]; len(b) == 0 {
			return list, nil
		}
		at = at.after(&r)
	}
}

// decodeRequest accepts what encode makes of a valid request for a segment that
// has room for so many bytes of data, and nothing else.
func decodeRequest(b []byte, room uint64) (request, error) {
	var r request
	if len(b) != requestSize {
		return r, fmt.Errorf("%w: a request of %d bytes", ErrProtocol, len(b))
	}
	word := func(i int) uint32 { return binary.LittleEndian.Uint32(b[4*i:]) }
	if word(0) != magic || word(7) != 0 {
		return r, fmt.Errorf("%w: no request of this version", ErrProtocol)
	}
	r = request{op: op(word(1)), seq: word(2), handle: word(3), a: word(4), b: word(5), c: word(6), n: binary.LittleEndian.Uint64(b[32:])}
	if !r.op.known() {
		return r, fmt.Errorf("%w: %s", ErrProtocol, r.op)
	}
	if used := r.used(); used&^ops[r.op].fields != 0 {
		return r, fmt.Errorf("%w: %s with fields %#x", ErrProtocol, r.op, used)
	}
	switch {
	// What an output has room for is the guest's affair.
	case !r.op.asks() && r.n > room, r.op == opLoad && r.n > MaxConfig:
		return r, fmt.Errorf("%w: %s with %d bytes", ErrProtocol, r.op, r.n)
	case (r.op == opCompute || r.op == opComputeSingle) && (r.c > 1 || r.c == 0 && (r.a != 0 || r.n != 0)):
		return r, fmt.Errorf("%w: %s with an output it does not ask for", ErrProtocol, r.op)
	case r.op == opSetInput && (r.c > MaxDims || r.b > 0xff):
		return r, fmt.Errorf("%w: %s of type %d with %d dimensions", ErrProtocol, r.op, r.b, r.c)
	}
	return r, nil
}

// used tells the fields that are not zero.
func (r *request) used() fields {
	var f fields
	for i, set := range [...]bool{r.handle != 0, r.a != 0, r.b != 0, r.c != 0, r.n != 0} {
		if set {
			f |= 1 << i
		}
	}
	return f
}

// reply answers the request of the same seq.
type reply struct {
	seq   uint32
	errno accel.Errno
	// ending says that the worker gives up and answers nothing more.
	ending bool
	// value is an output's length, after compute* that plus one, or 0 if there is
	// none; from the supervisor, the segment's.
	value uint64
	// text is lines for the container's stderr, with newlines between them.
	text []byte
}

const flagEnding = 1

func (r *reply) encode() []byte {
	text := r.text[:min(len(r.text), maxText)]
	b := make([]byte, replyHeader, replyHeader+len(text))
	var flags uint32
	if r.ending {
		flags = flagEnding
	}
	for i, v := range [...]uint32{magic, flags, r.seq, uint32(r.errno), uint32(len(text))} {
		binary.LittleEndian.PutUint32(b[4*i:], v)
	}
	binary.LittleEndian.PutUint64(b[24:], r.value)
	return append(b, text...)
}

// decodeReply is encode's inverse; text is a part of b.
func decodeReply(b []byte) (reply, error) {
	var r reply
	if len(b) < replyHeader || len(b) > maxReply {
		return r, fmt.Errorf("%w: a reply of %d bytes", ErrProtocol, len(b))
	}
	word := func(i int) uint32 { return binary.LittleEndian.Uint32(b[4*i:]) }
	if word(0) != magic || word(5) != 0 {
		return r, fmt.Errorf("%w: no reply of this version", ErrProtocol)
	}
	flags, errno, n := word(1), accel.Errno(word(3)), word(4)
	switch {
	case flags&^flagEnding != 0:
		return r, fmt.Errorf("%w: a reply with flags %#x", ErrProtocol, flags)
	case uint64(n) != uint64(len(b)-replyHeader):
		return r, fmt.Errorf("%w: a reply with %d bytes of text that says %d", ErrProtocol, len(b)-replyHeader, n)
	case !knownErrno(errno):
		return r, fmt.Errorf("%w: a reply with errno %d", ErrProtocol, uint32(errno))
	}
	return reply{seq: word(2), errno: errno, ending: flags != 0, value: binary.LittleEndian.Uint64(b[24:]), text: b[replyHeader:]}, nil
}

// knownErrno keeps a guest from codes that no interface has.
func knownErrno(e accel.Errno) bool {
	return e <= accel.ErrNotFound || e >= accel.ErrEndOfSequence && e <= accel.ErrModelNotFound
}
