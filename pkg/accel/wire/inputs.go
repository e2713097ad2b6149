package wire

import (
	"fmt"
	"maps"

	"github.com/runw/runw/pkg/accel"
)

// inputs are the engine's: what it knows of the tensors that a guest has set, and
// those that wait in the segment to be sent with the next compute.
type inputs struct {
	waiting []request
	// known is the last tensor that a worker has accepted as an input. The next
	// one of the same shape will be accepted too, for no backend looks at numbers
	// before it computes.
	known map[inputID]shape
}

type inputID struct{ context, index uint32 }

// shape is all of a tensor but its numbers.
type shape struct {
	kind accel.TensorType
	dims string
	size int
}

// maxKnown bounds what a guest with countless contexts makes this process keep.
const maxKnown = 64

// SetInput hands over one tensor; dims holds little-endian numbers of 4 bytes. A
// tensor like the one before, of numbers, is sent with the call that follows,
// which then tells its error if there is one after all.
func (c *Client) SetInput(context, index uint32, t accel.TensorType, dims, data []byte) accel.Errno {
	if len(dims)%4 != 0 || len(dims)/4 > MaxDims {
		return c.refuse(opSetInput, accel.ErrInvalidArgument, fmt.Sprintf("%d dimensions, more than %d", len(dims)/4, MaxDims))
	}
	if c.worker.conn < 0 {
		return accel.ErrInvalidArgument
	}
	r := request{
		op: opSetInput, handle: context, a: index,
		b: uint32(t), c: uint32(len(dims) / 4), n: uint64(len(data)), at: firstPlace,
	}
	id := inputID{context, index}
	known, ok := c.inputs.known[id]
	// Bytes may be a text, which a backend reads at once.
	ok = ok && t != accel.U8 && known.kind == t && known.size == len(data) && known.dims == string(dims)
	if !ok || !c.inputs.place(&r, uint64(len(c.worker.mem))) {
		if errno := c.flush(); errno != 0 {
			return errno
		}
		ok = ok && c.inputs.place(&r, uint64(len(c.worker.mem)))
	}
	to, errno := c.room(opSetInput, r.at.data-dataOffset+r.n)
	if errno != 0 {
		return errno
	}
	copy(to[r.at.data-dataOffset:], data)
	copy(c.worker.mem[r.at.dims:], dims)
	if ok {
		c.inputs.waiting = append(c.inputs.waiting, r)
		return 0
	}
	_, errno = c.call(&r)
	c.shrink(r.n)
	if errno == 0 {
		c.inputs.know(id, shape{t, string(dims), len(data)})
	}
	return errno
}

// flush sends the inputs that wait.
func (c *Client) flush() accel.Errno {
	if len(c.inputs.waiting) == 0 {
		return 0
	}
	_, errno := c.ask(c.inputs.take())
	return errno
}

// place finds room for an input behind those that wait, or says that there is none:
// they are of one context and fit into what the segment keeps. The room for one
// alone is that at the segment's beginning.
func (i *inputs) place(r *request, segment uint64) bool {
	r.at = firstPlace
	n := len(i.waiting)
	if n > 0 {
		last := &i.waiting[n-1]
		if r.handle != last.handle {
			return false
		}
		r.at = last.at.after(last)
	}
	return n < maxInputs && r.at.data+r.n <= min(segment, keptSegment)
}

// waitFor says that the inputs that wait can be sent with a request.
func (i *inputs) waitFor(r *request) bool {
	return len(i.waiting) > 0 && r.follows(&i.waiting[0])
}

func (i *inputs) take() []request {
	list := i.waiting
	i.waiting = nil
	return list
}

func (i *inputs) know(id inputID, s shape) {
	if i.known == nil || len(i.known) >= maxKnown {
		i.known = map[inputID]shape{}
	}
	i.known[id] = s
}

// close forgets a context, and the inputs that nobody will compute with.
func (i *inputs) close(context uint32) {
	if len(i.waiting) > 0 && i.waiting[0].handle == context {
		i.waiting = nil
	}
	maps.DeleteFunc(i.known, func(id inputID, _ shape) bool { return id.context == context })
}

// distrust makes each input's next error the guest's at once.
func (i *inputs) distrust() { clear(i.known) }
