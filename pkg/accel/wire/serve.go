package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/runw/runw/pkg/accel"
)

// Backend is one that a worker can open.
type Backend struct {
	Encoding accel.Encoding
	// Open is called with the first model of its encoding, and again with the
	// next if it has failed. log is accel.Options.Log; it may be called from any
	// thread.
	Open func(log func(line string)) (accel.Backend, error)
}

// ServeArgs is what a worker is given.
type ServeArgs struct {
	// Conn is the engine's connection, Segment the memory shared with it.
	Conn, Segment int
	Limits        Limits
	Backends      []Backend
	// Exit ends the process at once, whatever a library is doing in another
	// thread. It is called when a call has taken too long.
	Exit func()
}

// errGone ends a server whose call the watchdog has answered.
var errGone = errors.New("a call took too long")

// Serve answers the engine's calls until the engine is gone, one after another,
// and returns nil then, with all models freed. Any other end is an error of the
// connection or of the peer, after which the process is to end.
//
// Tensor data that a backend sees lies in the shared segment, where the engine
// could change it during the call: a backend reads it once, into memory of its
// own.
func Serve(a ServeArgs) error {
	mem, err := mapSegment(a.Segment)
	if err != nil {
		return err
	}
	s := newServer(a, mem)
	defer s.close()
	buf := make([]byte, maxMessage)
	var list []request
	for {
		n, fds, err := receive(a.Conn, buf, maxFiles)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("receive from the engine: %w", err)
		}
		list, err = decodeMessage(list, buf[:n], uint64(len(mem)-dataOffset))
		if err == nil && (list[0].op == opWorker || (list[0].op == opLoad) != (len(fds) > 0)) {
			err = fmt.Errorf("%w: %s with %d files", ErrProtocol, list[0].op, len(fds))
		}
		if err != nil {
			closeAll(fds)
			return err
		}
		if err := s.answer(list, fds); err != nil {
			return err
		}
	}
}

// server is the worker's state. Its maps are the goroutine's of Serve; lines
// come from any thread.
type server struct {
	a        ServeArgs
	mem      []byte
	open     map[accel.Encoding]accel.Backend
	graphs   map[uint32]*graph
	contexts map[uint32]*inference
	// last is the highest number seen; loaded counts graphs that can be used,
	// held the bytes that count for Limits.Bytes.
	last   uint32
	loaded int
	held   uint64
	lines  lines

	watchdog *watchdog
}

func newServer(a ServeArgs, mem []byte) *server {
	s := &server{
		a: a, mem: mem,
		open:     map[accel.Encoding]accel.Backend{},
		graphs:   map[uint32]*graph{},
		contexts: map[uint32]*inference{},
	}
	s.watchdog = newWatchdog(a.Limits.Time, s.late)
	return s
}

// answer runs the calls of a message within the time of one.
func (s *server) answer(list []request, fds []int) error {
	last := &list[len(list)-1]
	c := s.watchdog.begin(last)
	var (
		value uint64
		err   error
		did   op
	)
	for i := range list {
		did = list[i].op
		if value, err = s.do(c, &list[i], fds); err != nil {
			break
		}
	}
	if !s.watchdog.finish(c) {
		return errGone
	}
	answer := reply{seq: last.seq, errno: errnoOf(err), value: value}
	if err != nil && worthALine(did, answer.errno, value) {
		s.lines.add(did, err.Error())
	}
	answer.text = s.lines.take()
	if err := send(s.a.Conn, answer.encode()); err != nil {
		return fmt.Errorf("answer the engine: %w", err)
	}
	return nil
}

// late answers a call that has not ended by itself, and ends the process.
func (s *server) late(c *call) {
	s.lines.add(c.request.op, fmt.Sprintf("took longer than %s (run.runw.nn-limits: time)", s.a.Limits.Time))
	answer := reply{seq: c.request.seq, errno: accel.ErrRuntime, ending: true, text: s.lines.take()}
	_ = send(s.a.Conn, answer.encode())
	s.a.Exit()
}

// errnoOf finds the code in a backend's error.
func errnoOf(err error) accel.Errno {
	if err == nil {
		return 0
	}
	var e accel.Errno
	if errors.As(err, &e) && e != 0 && knownErrno(e) {
		return e
	}
	return accel.ErrRuntime
}

// worthALine says that somebody should read what the guest is told: not how each
// text ends, and not a question for an output's size.
func worthALine(o op, errno accel.Errno, value uint64) bool {
	switch o {
	case opComputeSingle, opCompute:
		return errno != accel.ErrEndOfSequence && errno != accel.ErrContextFull
	case opOutput, opOutputSingle:
		return errno != accel.ErrTooLarge || value == 0
	}
	return true
}

func (s *server) do(ctx context.Context, r *request, fds []int) (value uint64, err error) {
	switch r.op {
	case opLoad:
		return 0, s.load(ctx, r, fds)
	case opUnload:
		return 0, s.unload(r.handle)
	case opNewContext:
		return 0, s.newContext(r.handle, r.a)
	}
	c, ok := s.contexts[r.handle]
	if !ok {
		return 0, fmt.Errorf("%w: context %d", accel.ErrInvalidArgument, r.handle)
	}
	switch r.op {
	case opSetInput:
		return 0, s.setInput(c, r)
	case opCompute:
		return s.compute(ctx, c, r, c.Context.Compute, c.Output)
	case opComputeSingle:
		return s.compute(ctx, c, r, c.ComputeSingle, c.OutputSingle)
	case opOutput:
		return s.output(r, c.Output)
	case opOutputSingle:
		return s.output(r, c.OutputSingle)
	case opFinishSingle:
		return 0, c.FinishSingle()
	}
	s.closeContext(r.handle, c)
	return 0, nil
}

// lines are those for the container's stderr until the next reply takes them.
type lines struct {
	mu   sync.Mutex
	text []byte
	lost int
}

const (
	// lostRoom is kept for the line that says how many did not fit.
	lostRoom = 64
	// maxLine bounds one of a library's.
	maxLine = 1024
)

// log is accel.Options.Log.
func (l *lines) log(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	line = strings.TrimRight(line[:min(len(line), maxLine)], "\n")
	if len(l.text)+1+len(line) > maxText/2 {
		l.lost++
		return
	}
	l.put(line)
}

// add is for the one line that says why a call has failed; half of the room is
// its own.
func (l *lines) add(o op, line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	line = o.String() + ": " + line
	if most := maxText/2 - lostRoom; len(line) > most {
		line = line[:most] + "…"
	}
	l.put(line)
}

func (l *lines) put(line string) {
	if len(l.text) > 0 {
		l.text = append(l.text, '\n')
	}
	l.text = append(l.text, line...)
}

func (l *lines) take() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lost > 0 {
		l.put(fmt.Sprintf("%d lines more", l.lost))
	}
	text := l.text
	l.text, l.lost = nil, 0
	return text
}
