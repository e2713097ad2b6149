package wire

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"unicode"

	"github.com/runw/runw/pkg/accel"
	"golang.org/x/sys/unix"
)

// Client is the engine's side. It is not safe for concurrent use: a guest has
// one thread. Its methods answer with 0 or an error code for the guest, and tell
// the reason as a line.
//
// Numbers of graphs and contexts are the Client's own and count upwards, whatever
// worker they belong to.
type Client struct {
	supervisor int
	log        func(line string)
	worker     worker
	seq        uint32
	// next is the number that was given out last, plus one; what is below floor
	// belonged to workers that are gone.
	next, floor uint32
	buf         []byte
	// first is the output that the guest has asked for first after computing; the
	// same one is sent with the next answer to its compute, and then lies ahead in
	// the segment. computed is true until the guest asks for one.
	first, ahead outputID
	aheadSize    uint64
	computed     bool
	inputs       inputs
}

// outputID names an output and the room that the guest had for it. op is that of
// get_output or get_output_single, 0 for none.
type outputID struct {
	op             op
	context, index uint32
	room           uint64
}

// worker is the connection to one; conn is -1 for none.
type worker struct {
	conn, segment int
	mem           []byte
}

// NewClient takes the engine's end of the pair whose other end Supervise has. It
// does nothing until the first Load. log gets lines for the container's stderr.
func NewClient(supervisor int, log func(line string)) *Client {
	return &Client{supervisor: supervisor, log: log, worker: worker{conn: -1}, next: 1, floor: 1}
}

// Close ends the worker and the supervisor.
func (c *Client) Close() error {
	c.drop()
	err := unix.Close(c.supervisor)
	c.supervisor = -1
	return err
}

// Load makes a graph of the model in files, which stay the caller's, and asks
// for a worker if there is none.
func (c *Client) Load(files []int, config []byte, e accel.Encoding, t accel.Target) (graph uint32, errno accel.Errno) {
	if len(files) == 0 || len(files) > maxFiles {
		return 0, c.refuse(opLoad, accel.ErrInvalidArgument, fmt.Sprintf("%d files, want 1 to %d", len(files), maxFiles))
	}
	if len(config) > MaxConfig {
		return 0, c.refuse(opLoad, accel.ErrTooLarge, fmt.Sprintf("a configuration of %d bytes, more than %d", len(config), MaxConfig))
	}
	if c.worker.conn >= 0 && hungUp(c.worker.conn) {
		c.drop()
	}
	if c.worker.conn < 0 {
		if errno := c.connect(); errno != 0 {
			return 0, errno
		}
	}
	if errno := c.flush(); errno != 0 {
		return 0, errno
	}
	number, errno := c.number(opLoad)
	if errno != 0 {
		return 0, errno
	}
	data, errno := c.room(opLoad, uint64(len(config)))
	if errno != 0 {
		return 0, errno
	}
	copy(data, config)
	_, errno = c.call(&request{op: opLoad, handle: number, a: uint32(e), b: uint32(t), n: uint64(len(config))}, files...)
	return number, errno
}

// Alive says that the worker of a graph that Load gave is still there.
func (c *Client) Alive(graph uint32) bool {
	if c.worker.conn >= 0 && hungUp(c.worker.conn) {
		c.drop()
	}
	return graph >= c.floor && graph < c.next
}

// Unload frees a graph. Outputs of its contexts stay readable.
func (c *Client) Unload(graph uint32) accel.Errno {
	_, errno := c.call(&request{op: opUnload, handle: graph})
	return errno
}

// NewContext makes a context on a graph.
func (c *Client) NewContext(graph uint32) (context uint32, errno accel.Errno) {
	number, errno := c.number(opNewContext)
	if errno != 0 {
		return 0, errno
	}
	_, errno = c.call(&request{op: opNewContext, handle: graph, a: number})
	return number, errno
}

// CloseContext frees a context.
func (c *Client) CloseContext(context uint32) accel.Errno {
	c.inputs.close(context)
	_, errno := c.call(&request{op: opCloseContext, handle: context})
	return errno
}

// Compute runs until all outputs are there.
func (c *Client) Compute(context uint32) accel.Errno {
	return c.compute(opCompute, opOutput, context)
}

// ComputeSingle makes one step.
func (c *Client) ComputeSingle(context uint32) accel.Errno {
	return c.compute(opComputeSingle, opOutputSingle, context)
}

// compute asks with it for the output that the guest will ask for, as far as one
// can tell: a round trip less for each inference, and for each token.
func (c *Client) compute(o, output op, context uint32) accel.Errno {
	r, want := request{op: o, handle: context}, c.first
	c.computed = true
	if want.op == output && want.context == context {
		r.a, r.c, r.n = want.index, 1, want.room
	}
	value, errno := c.call(&r)
	switch {
	case errno != 0 || value == 0:
		return errno
	case r.c == 0 || value-1 > r.n || value-1 > uint64(len(c.worker.mem)-dataOffset):
		return c.lost(o, fmt.Errorf("%w: %d bytes of output for %d", ErrProtocol, value-1, r.n))
	}
	c.ahead, c.aheadSize = want, value-1
	return 0
}

// FinishSingle resets what steps have left.
func (c *Client) FinishSingle(context uint32) accel.Errno {
	_, errno := c.call(&request{op: opFinishSingle, handle: context})
	return errno
}

// Output copies an output into to and gives its length. If to is too short it
// stays as it is, and n is the length that is needed beside ErrTooLarge.
func (c *Client) Output(context, index uint32, to []byte) (n uint32, errno accel.Errno) {
	return c.output(opOutput, context, index, to)
}

// OutputSingle is Output for what the last step made.
func (c *Client) OutputSingle(context, index uint32, to []byte) (n uint32, errno accel.Errno) {
	return c.output(opOutputSingle, context, index, to)
}

func (c *Client) output(o op, context, index uint32, to []byte) (uint32, accel.Errno) {
	room := uint64(len(to))
	if a := c.ahead; a.op == o && a.context == context && a.index == index {
		return c.take(to)
	}
	n, errno := c.call(&request{op: o, handle: context, a: index, n: room})
	switch {
	case errno == accel.ErrTooLarge && n <= math.MaxUint32:
		return uint32(n), errno
	case errno != 0:
		return 0, errno
	case n > room || n > uint64(len(c.worker.mem)-dataOffset):
		return 0, c.lost(o, fmt.Errorf("%w: %d bytes of output for %d", ErrProtocol, n, room))
	}
	copy(to, c.worker.mem[dataOffset:dataOffset+n])
	c.shrink(n)
	if c.computed {
		c.first, c.computed = outputID{op: o, context: context, index: index, room: room}, false
	}
	return uint32(n), 0
}

// take copies the output that lies ahead.
func (c *Client) take(to []byte) (uint32, accel.Errno) {
	if uint64(len(to)) < c.aheadSize {
		return uint32(c.aheadSize), accel.ErrTooLarge
	}
	n := copy(to, c.worker.mem[dataOffset:dataOffset+c.aheadSize])
	c.first.room, c.computed = uint64(len(to)), false
	c.forget()
	return uint32(n), 0
}

// forget gives up what lies ahead.
func (c *Client) forget() {
	if c.ahead.op != 0 {
		c.ahead = outputID{}
		c.shrink(c.aheadSize)
	}
}

// number reserves the next one. After four billion there is none left.
func (c *Client) number(o op) (uint32, accel.Errno) {
	if c.next == math.MaxUint32 {
		return 0, c.refuse(o, accel.ErrTooLarge, "all numbers of graphs and contexts are used up")
	}
	c.next++
	return c.next - 1, 0
}

// room is where n bytes of data for the worker go, instead of what lies ahead.
func (c *Client) room(o op, n uint64) ([]byte, accel.Errno) {
	c.forget()
	if most := uint64(len(c.worker.mem) - dataOffset); n > most {
		return nil, c.refuse(o, accel.ErrTooLarge, fmt.Sprintf("%d bytes, more than the %d that are allowed (run.runw.nn-limits: bytes)", n, most))
	}
	return c.worker.mem[dataOffset:], 0
}

func (c *Client) shrink(n uint64) {
	if c.worker.conn >= 0 {
		shrinkSegment(c.worker.segment, n)
	}
}

// call sends a request to the worker, with the inputs that wait for it or after
// them, and waits for the reply. Without a worker no number is a valid one.
func (c *Client) call(r *request, files ...int) (value uint64, errno accel.Errno) {
	if c.worker.conn < 0 || r.handle < c.floor {
		return 0, accel.ErrInvalidArgument
	}
	if c.inputs.waitFor(r) {
		return c.ask(append(c.inputs.take(), *r))
	}
	if errno := c.flush(); errno != 0 {
		return 0, errno
	}
	c.forget()
	return c.ask([]request{*r}, files...)
}

// ask sends one message to the worker and tells what it answers to the last request.
func (c *Client) ask(list []request, files ...int) (value uint64, errno accel.Errno) {
	a, fds, err := c.exchange(c.worker.conn, list, 0, files...)
	closeAll(fds)
	if err != nil {
		return 0, c.lost(list[len(list)-1].op, err)
	}
	c.lines(a.text)
	if a.ending {
		c.drop()
		return 0, accel.ErrRuntime
	}
	if a.errno != 0 && list[0].op == opSetInput {
		c.inputs.distrust()
	}
	return a.value, a.errno
}

// exchange sends one message and receives the answer to its last request.
func (c *Client) exchange(conn int, list []request, max int, files ...int) (reply, []int, error) {
	if c.buf == nil {
		c.buf = make([]byte, maxReply)
	}
	message := c.buf[:0]
	for i := range list {
		c.seq++
		list[i].seq = c.seq
		b := list[i].encode()
		message = append(message, b[:]...)
	}
	if err := send(conn, message, files...); err != nil {
		return reply{}, nil, err
	}
	await(conn)
	n, fds, err := receive(conn, c.buf, max)
	if err != nil {
		return reply{}, nil, err
	}
	a, err := decodeReply(c.buf[:n])
	if err == nil && a.seq != c.seq {
		err = fmt.Errorf("%w: the answer to another request", ErrProtocol)
	}
	if err != nil {
		closeAll(fds)
		return reply{}, nil, err
	}
	return a, fds, nil
}

// connect asks the supervisor for a worker.
func (c *Client) connect() accel.Errno {
	a, fds, err := c.exchange(c.supervisor, []request{{op: opWorker}}, 2)
	if err != nil {
		return c.refuse(opWorker, accel.ErrRuntime, "the process for inference is gone: "+reason(err))
	}
	c.lines(a.text)
	if a.errno != 0 || len(fds) != 2 {
		closeAll(fds)
		if a.errno == 0 {
			return c.refuse(opWorker, accel.ErrRuntime, ErrProtocol.Error())
		}
		return a.errno
	}
	mem, err := mapSegment(fds[1])
	if err != nil {
		closeAll(fds)
		return c.refuse(opWorker, accel.ErrRuntime, err.Error())
	}
	c.worker = worker{conn: fds[0], segment: fds[1], mem: mem}
	return 0
}

// lost is the end of a worker: its socket's, or one that the Client makes
// because the worker does not keep to the protocol.
func (c *Client) lost(o op, err error) accel.Errno {
	c.drop()
	return c.refuse(o, accel.ErrRuntime, reason(err))
}

func reason(err error) string {
	if errors.Is(err, io.EOF) || err == unix.EPIPE || err == unix.ECONNRESET {
		return "it has ended"
	}
	return err.Error()
}

// drop leaves the worker, which ends then, and voids its numbers.
func (c *Client) drop() {
	if c.worker.conn < 0 {
		return
	}
	closeAll([]int{c.worker.conn, c.worker.segment})
	_ = unix.Munmap(c.worker.mem)
	c.worker = worker{conn: -1}
	c.floor = c.next
	c.first, c.ahead = outputID{}, outputID{}
	c.inputs = inputs{}
}

// refuse tells the reason beside a code that no worker gave.
func (c *Client) refuse(o op, errno accel.Errno, why string) accel.Errno {
	c.log(o.String() + ": " + why)
	return errno
}

// lines passes on what a library wrote about a model: to a terminal, perhaps.
func (c *Client) lines(text []byte) {
	if len(text) == 0 {
		return
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		c.log(strings.Map(func(r rune) rune {
			if r == '\t' || unicode.IsPrint(r) {
				return r
			}
			return unicode.ReplacementChar
		}, line))
	}
}
