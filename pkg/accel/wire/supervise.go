package wire

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/runw/runw/pkg/accel"
	"golang.org/x/sys/unix"
)

// SuperviseArgs says what a supervisor needs.
type SuperviseArgs struct {
	// Conn is the supervisor's end of the pair whose other end the engine has.
	Conn int
	// Limits sets the segment's size.
	Limits Limits
	// Spawn starts a process that calls Serve with duplicates of the two files;
	// they are closed when it returns. The process must not outlive this one
	// (PR_SET_PDEATHSIG), and is killed and waited for by Supervise.
	Spawn func(conn, segment *os.File) (*os.Process, error)
}

// Supervise gives the engine a worker whenever it asks for one, at most one at
// a time, and returns nil when the engine is gone, with no worker left. The text
// about a worker that was killed or crashed reaches the container's stderr when
// the next one is asked for.
func Supervise(a SuperviseArgs) error {
	var current *child
	defer func() { current.end(0) }()
	buf := make([]byte, requestSize)
	for {
		n, fds, err := receive(a.Conn, buf, 0)
		closeAll(fds)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("receive from the engine: %w", err)
		}
		r, err := decodeRequest(buf[:n], 0)
		if err == nil && r.op != opWorker {
			err = fmt.Errorf("%w: %s to the supervisor", ErrProtocol, r.op)
		}
		if err != nil {
			return err
		}
		text := current.end(patience)
		current, err = a.provide(r.seq, text)
		if errors.Is(err, unix.EPIPE) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// provide starts a worker and answers the engine. An error is one of the
// connection; that there is no worker is told to the engine.
func (a *SuperviseArgs) provide(seq uint32, text string) (*child, error) {
	c, engine, segment, err := a.start()
	answer := reply{seq: seq, text: []byte(text)}
	if err != nil {
		answer.errno = accel.ErrRuntime
		answer.text = []byte(joinLines(text, opWorker.String()+": "+err.Error()))
		return nil, send(a.Conn, answer.encode())
	}
	defer closeAll([]int{engine, segment})
	answer.value = a.Limits.Bytes
	return c, send(a.Conn, answer.encode(), engine, segment)
}

func (a *SuperviseArgs) start() (c *child, engine, segment int, err error) {
	segment, err = newSegment(a.Limits.Bytes)
	if err != nil {
		return nil, -1, -1, err
	}
	engine, conn, err := Socketpair()
	if err != nil {
		_ = unix.Close(segment)
		return nil, -1, -1, err
	}
	connFile := os.NewFile(uintptr(conn), "worker")
	defer connFile.Close()
	shared, err := unix.FcntlInt(uintptr(segment), unix.F_DUPFD_CLOEXEC, 3)
	if err == nil {
		segmentFile := os.NewFile(uintptr(shared), "segment")
		defer segmentFile.Close()
		var p *os.Process
		if p, err = a.Spawn(connFile, segmentFile); err == nil {
			return reap(p), engine, segment, nil
		}
	}
	closeAll([]int{engine, segment})
	return nil, -1, -1, fmt.Errorf("start a worker: %w", err)
}

// child is a worker's process, reaped as soon as it ends.
type child struct {
	process *os.Process
	done    chan struct{}
	// how tells an end that was not of its own will, "" for one that was; valid
	// once done is closed.
	how string
}

func reap(p *os.Process) *child {
	c := &child{process: p, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		if state, err := p.Wait(); err == nil && !state.Success() {
			c.how = state.String()
		}
	}()
	return c
}

// patience is for a worker that the engine has seen end: its process follows its
// sockets soon.
const patience = time.Second

// end waits for the worker's end, and kills it if that does not come in time. It
// tells what ended it, if that was neither this nor its own will.
func (c *child) end(patience time.Duration) string {
	if c == nil {
		return ""
	}
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-c.done:
		if c.how != "" {
			return "the process that had the models ended: " + c.how
		}
	case <-t.C:
		_ = c.process.Kill()
		<-c.done
	}
	return ""
}

func joinLines(a, b string) string {
	if a == "" {
		return b
	}
	return a + "\n" + b
}
