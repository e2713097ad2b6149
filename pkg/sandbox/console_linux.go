package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/containerd/console"
	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"
)

// hostConsole joins the terminal of a foreground container with the one runw
// was started from.
type hostConsole struct {
	// host is the caller's terminal, master the container's other end; master
	// is nil until attach.
	host   console.Console
	master *os.File
	socket *os.File
}

// hangUpDelay is how long output is still read from a terminal that some
// process of the container keeps open after its first process has ended.
const hangUpDelay = 200 * time.Millisecond

func newConsoleStdio(p *libcontainer.Process) (*stdio, error) {
	host, err := callerConsole()
	if err != nil {
		return nil, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("console socket: %w", err)
	}
	ours, child := os.NewFile(uintptr(pair[0]), "console"), os.NewFile(uintptr(pair[1]), "console")
	p.ConsoleSocket = child
	return &stdio{
		child:   []io.Closer{child},
		ours:    []io.Closer{ours},
		console: &hostConsole{host: host, socket: ours},
	}, nil
}

// callerConsole finds the caller's terminal behind one of the standard
// descriptors, or else the controlling terminal.
func callerConsole() (console.Console, error) {
	for _, f := range []*os.File{os.Stderr, os.Stdout, os.Stdin} {
		c, err := console.ConsoleFromFile(f)
		if err == nil {
			return c, nil
		}
		if !errors.Is(err, console.ErrNotAConsole) {
			return nil, fmt.Errorf("unable to get console: %w", err)
		}
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("process.terminal is set, but there is no terminal: %w", err)
	}
	c, err := console.ConsoleFromFile(tty)
	if err != nil {
		tty.Close()
		return nil, fmt.Errorf("unable to get console: %w", err)
	}
	return c, nil
}

// attach takes the master from libcontainer's init, which has sent it by now,
// and starts copying.
func (h *hostConsole) attach(s *stdio) error {
	fd, err := receiveFD(h.socket)
	if err != nil {
		return err
	}
	// Non-blocking makes the file one that read deadlines work on.
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return err
	}
	h.master = os.NewFile(uintptr(fd), "console master")
	s.ours = append(s.ours, h.master)
	// The caller's terminal adds the carriage returns already.
	if err := console.ClearONLCR(uintptr(fd)); err != nil {
		return err
	}
	h.resize()
	if err := h.host.SetRaw(); err != nil {
		return fmt.Errorf("failed to set the terminal to raw mode: %w", err)
	}
	go func() { _, _ = io.Copy(h.master, os.Stdin) }()
	s.copy(os.Stdout, h.master)
	return nil
}

func (h *hostConsole) resize() {
	if h.master == nil {
		return
	}
	// The caller's terminal may have gone with its window; then there is no
	// size to hand on.
	size, err := h.host.Size()
	if err != nil {
		return
	}
	conn, err := h.master.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Control(func(fd uintptr) {
		_ = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: size.Height, Col: size.Width})
	})
}

func (h *hostConsole) hangUp() {
	if h.master != nil {
		_ = h.master.SetReadDeadline(time.Now().Add(hangUpDelay))
	}
}

func (h *hostConsole) restore() {
	_ = h.host.Reset()
}

// receiveFD takes the one descriptor that was sent over a socket.
func receiveFD(socket *os.File) (int, error) {
	var name [4096]byte // libcontainer sends the pty's name as the data
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(int(socket.Fd()), name[:], oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return -1, os.NewSyscallError("recvmsg", err)
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil {
		return -1, err
	}
	if len(msgs) != 1 {
		return -1, errors.New("init sent no terminal")
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil {
		return -1, err
	}
	if len(fds) != 1 {
		return -1, fmt.Errorf("init sent %d descriptors for one terminal", len(fds))
	}
	return fds[0], nil
}
