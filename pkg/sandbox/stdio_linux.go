package sandbox

import (
	"io"
	"net"
	"os"
	"sync"

	"github.com/opencontainers/runc/libcontainer"
)

// stdio is what connects a container's first process to whoever started runw.
// Three ways exist: the caller's own descriptors (detached), pipes that are
// copied (foreground), or a terminal.
type stdio struct {
	// child are the container's ends, closed here once it has them.
	child []io.Closer
	// ours are the ends to close when the container is gone.
	ours    []io.Closer
	copying sync.WaitGroup
	console *hostConsole
}

func (l *launch) newStdio(p *libcontainer.Process) (*stdio, error) {
	switch {
	case l.spec.Terminal && l.detach:
		socket, err := dialUnix(l.args.ConsoleSocket)
		if err != nil {
			return nil, err
		}
		p.ConsoleSocket = socket
		return &stdio{child: []io.Closer{socket}}, nil
	case l.spec.Terminal:
		return newConsoleStdio(p)
	case l.detach:
		p.Stdin, p.Stdout, p.Stderr = os.Stdin, os.Stdout, os.Stderr
		return &stdio{}, nil
	}
	return l.newPipes(p)
}

// newPipes puts pipes between the container and the caller's descriptors,
// because libcontainer gives stdio to the container's user: that must not
// happen to the caller's terminal or files.
func (l *launch) newPipes(p *libcontainer.Process) (*stdio, error) {
	config := l.container.Config()
	uid, err := config.HostRootUID()
	if err != nil {
		return nil, err
	}
	gid, err := config.HostRootGID()
	if err != nil {
		return nil, err
	}
	pipes, err := p.InitializeIO(uid, gid)
	if err != nil {
		return nil, err
	}
	s := &stdio{ours: []io.Closer{pipes.Stdin, pipes.Stdout, pipes.Stderr}}
	for _, end := range []any{p.Stdin, p.Stdout, p.Stderr} {
		if c, ok := end.(io.Closer); ok {
			s.child = append(s.child, c)
		}
	}
	// Nobody waits for this one: it may sit in a read of a stdin that never
	// ends.
	go func() {
		_, _ = io.Copy(pipes.Stdin, os.Stdin)
		pipes.Stdin.Close()
	}()
	s.copyPipe(os.Stdout, pipes.Stdout)
	s.copyPipe(os.Stderr, pipes.Stderr)
	return s, nil
}

func (s *stdio) copy(to io.Writer, from io.Reader) {
	s.copying.Go(func() { _, _ = io.Copy(to, from) })
}

// copyPipe closes from when to takes no more: a container whose reader has gone
// away must get EPIPE, not fill a pipe that nobody empties.
func (s *stdio) copyPipe(to io.Writer, from io.ReadCloser) {
	s.copying.Go(func() {
		_, _ = io.Copy(to, from)
		from.Close()
	})
}

// started is to be called when the container's process runs: it takes over the
// terminal and drops the container's ends.
func (s *stdio) started() error {
	if s.console != nil {
		if err := s.console.attach(s); err != nil {
			return err
		}
	}
	s.closeChild()
	return nil
}

func (s *stdio) closeChild() {
	for _, c := range s.child {
		c.Close()
	}
	s.child = nil
}

// drain waits until everything the container wrote has been passed on. It is
// to be called when the container's process is gone.
func (s *stdio) drain() {
	s.closeChild()
	if s.console != nil {
		s.console.hangUp()
	}
	s.copying.Wait()
	s.release()
}

// release closes everything and gives the caller's terminal back its mode.
func (s *stdio) release() {
	s.closeChild()
	for _, c := range s.ours {
		c.Close()
	}
	s.ours = nil
	if s.console != nil {
		s.console.restore()
	}
}

// resize hands the size of the caller's terminal on.
func (s *stdio) resize() {
	if s.console != nil {
		s.console.resize()
	}
}

func dialUnix(path string) (*os.File, error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.File()
}
