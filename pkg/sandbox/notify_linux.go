package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// notifySocket carries sd_notify(3) messages out of a container: the program
// finds a socket below /run/notify, and what it says about being ready goes to
// the socket that runw itself was given. A nil *notifySocket does nothing.
type notifySocket struct {
	// host is $NOTIFY_SOCKET, path our end on the host.
	host, path string
	conn       *net.UnixConn
}

const (
	notifyDir  = "/run/notify"
	notifyName = "notify.sock"
)

func newNotifySocket(root, id string) *notifySocket {
	host := os.Getenv("NOTIFY_SOCKET")
	if host == "" {
		return nil
	}
	return &notifySocket{host: host, path: filepath.Join(root, id, "notify", notifyName)}
}

// addTo mounts the socket's directory into the container.
func (n *notifySocket) addTo(spec *specs.Spec) {
	if n == nil {
		return
	}
	spec.Mounts = append(spec.Mounts, specs.Mount{
		Destination: notifyDir,
		Source:      filepath.Dir(n.path),
		Options:     []string{"bind", "nosuid", "noexec", "nodev", "ro"},
	})
	spec.Process.Env = append(spec.Process.Env, "NOTIFY_SOCKET="+notifyDir+"/"+notifyName)
}

// makeDir must come before the container's mounts are made.
func (n *notifySocket) makeDir() error {
	if n == nil {
		return nil
	}
	return os.Mkdir(filepath.Dir(n.path), 0o755)
}

// bind must come before the program runs.
func (n *notifySocket) bind() error {
	if n == nil {
		return nil
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: n.path, Net: "unixgram"})
	if err != nil {
		return err
	}
	// The container's user is anybody.
	if err := os.Chmod(n.path, 0o777); err != nil {
		conn.Close()
		return err
	}
	n.conn = conn
	return nil
}

// forward waits for the program to be ready or gone and tells the host, with
// mainPID as the process to watch from then on.
func (n *notifySocket) forward(pid, mainPID int) error {
	if n == nil {
		return nil
	}
	defer n.conn.Close()
	ready, err := n.readReady(pid)
	if err != nil || ready == nil {
		return err
	}
	host, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.host, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer host.Close()
	for _, msg := range [][]byte{ready, []byte("MAINPID=" + strconv.Itoa(mainPID))} {
		if _, err := host.Write(append(msg, '\n')); err != nil {
			return err
		}
	}
	return barrier(host)
}

// readReady gives the program's READY= line, nil when the program ended first.
func (n *notifySocket) readReady(pid int) ([]byte, error) {
	var buf [4096]byte
	for {
		if err := n.conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
			return nil, err
		}
		size, err := n.conn.Read(buf[:])
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			if errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
				return nil, nil
			}
		case err != nil:
			return nil, err
		}
		for line := range bytes.SplitSeq(buf[:size], []byte{'\n'}) {
			if bytes.HasPrefix(line, []byte("READY=")) {
				return bytes.Clone(line), nil
			}
		}
	}
}

// barrierTimeout is what sd_notify_barrier(3) callers usually allow.
const barrierTimeout = 30 * time.Second

// barrier returns once systemd has read everything sent before: it closes the
// pipe's end that the message carries (sd_notify(3), "BARRIER=1").
func barrier(host *net.UnixConn) error {
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	err = sendFile(host, []byte("BARRIER=1"), write)
	write.Close()
	if err != nil {
		return err
	}
	if err := read.SetReadDeadline(time.Now().Add(barrierTimeout)); err != nil {
		return err
	}
	var b [1]byte
	if n, _ := read.Read(b[:]); n != 0 {
		return fmt.Errorf("unexpected data on the barrier's pipe")
	}
	return nil
}

// sendFile exists because net refuses WriteMsgUnix on a connected datagram
// socket.
func sendFile(to *net.UnixConn, msg []byte, f *os.File) error {
	raw, err := to.SyscallConn()
	if err != nil {
		return err
	}
	rights := unix.UnixRights(int(f.Fd()))
	var sendErr error
	err = raw.Write(func(fd uintptr) bool {
		sendErr = unix.Sendmsg(int(fd), msg, rights, nil, 0)
		return !errors.Is(sendErr, unix.EAGAIN)
	})
	return errors.Join(err, sendErr)
}
