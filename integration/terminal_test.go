package integration

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// talker says what its streams are, and then reads a line.
func talker(t *testing.T, guest string) *box {
	args := []string{"terminal"}
	if guest == "busybox" {
		args = []string{"sh", "-c", `for fd in 0 1 2; do if [ -t $fd ]; then echo fd $fd is a terminal; fi; done; read line; echo read $line`}
	}
	b := newBox(t, guest, args...)
	b.Spec.Process.Terminal = true
	b.Spec.Process.ConsoleSize = &specs.Box{Width: 97, Height: 31}
	return b
}

var talkers = []string{"busybox", "c/probe"}

// screen collects what comes from a terminal's master.
type screen struct {
	master *os.File
	mu     sync.Mutex
	text   bytes.Buffer
	done   chan struct{}
}

func watch(master *os.File) *screen {
	s := &screen{master: master, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		buf := make([]byte, 4096)
		for {
			// EIO is how a master says that the last slave is closed.
			n, err := master.Read(buf)
			s.mu.Lock()
			s.text.Write(buf[:n])
			s.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return s
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func (s *screen) await(t *testing.T, text string) {
	t.Helper()
	if !eventually(30*time.Second, func() bool { return strings.Contains(s.String(), text) }) {
		t.Fatalf("no %q on the terminal: %q", text, s.String())
	}
}

// converse checks the terminal and types a line.
func (s *screen) converse(t *testing.T) {
	t.Helper()
	for fd := range 3 {
		s.await(t, fmt.Sprintf("fd %d is a terminal", fd))
	}
	_, err := s.master.WriteString("typed\n")
	must(t, err)
	s.await(t, "read typed")
}

// A container manager receives the terminal's master over --console-socket.
func TestConsoleSocket(t *testing.T) {
	for _, guest := range talkers {
		t.Run(guest, func(t *testing.T) {
			b := talker(t, guest)
			path := filepath.Join(b.dir, "console")
			listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
			must(t, err)
			defer listener.Close()
			b.create("--console-socket", path).ok()
			master := receive(t, listener)
			defer master.Close()
			size, err := unix.IoctlGetWinsize(int(master.Fd()), unix.TIOCGWINSZ)
			must(t, err)
			if rt.name != "crun" && (size.Col != 97 || size.Row != 31) {
				t.Errorf("terminal of %d columns and %d rows, want 97 and 31", size.Col, size.Row)
			}
			s := watch(master)
			b.quiet("start", b.id).ok()
			s.converse(t)
			if code := b.wait(); code != 0 {
				t.Errorf("exit status %d, terminal %q", code, s)
			}
			<-s.done
			b.quiet("delete", b.id).ok()
		})
	}
}

// receive takes one descriptor from the runtime.
func receive(t *testing.T, listener *net.UnixListener) *os.File {
	t.Helper()
	must(t, listener.SetDeadline(time.Now().Add(30*time.Second)))
	conn, err := listener.AcceptUnix()
	must(t, err)
	defer conn.Close()
	must(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
	name, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := conn.ReadMsgUnix(name, oob)
	must(t, err)
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	must(t, err)
	if len(messages) != 1 {
		t.Fatalf("%d control messages, want one", len(messages))
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	must(t, err)
	if len(fds) != 1 {
		t.Fatalf("%d descriptors, want one", len(fds))
	}
	return os.NewFile(uintptr(fds[0]), "console")
}

// `run` in the foreground copies between the caller's terminal and the container's.
func TestForegroundTerminal(t *testing.T) {
	for _, guest := range talkers {
		t.Run(guest, func(t *testing.T) {
			b := talker(t, guest)
			b.Spec.Process.ConsoleSize = nil
			must(t, b.Write())
			master, slave := openPty(t)
			defer master.Close()
			must(t, unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80}))
			converseOn(t, master, slave, b.command("run", "--bundle", b.Dir, b.id))
		})
	}
}

func openPty(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	must(t, unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	must(t, err)
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	return master, slave
}

// The ways to ask for a terminal that cannot work say so at create.
func TestTerminalRefusals(t *testing.T) {
	b := talker(t, "busybox")
	if res := b.create(); res.code == 0 {
		t.Errorf("created a terminal for nobody: %v", res)
	} else {
		res.warns("console")
	}
	b.Spec.Process.Terminal = false
	if res := b.create("--console-socket", filepath.Join(b.dir, "none")); rt.name != "crun" && res.code == 0 {
		t.Errorf("took a console socket without a terminal: %v", res)
	}
	b.quiet("delete", "--force", b.id)
}

// converseOn runs cmd on the terminal that slave is, which it closes, and talks with it
// over master.
func converseOn(t *testing.T, master, slave *os.File, cmd *exec.Cmd) {
	t.Helper()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	must(t, cmd.Start())
	must(t, slave.Close())
	s := watch(master)
	s.converse(t)
	if code := exitCode(t, cmd.Wait()); code != 0 {
		t.Errorf("exit status %d, terminal %q", code, s)
	}
	<-s.done
}
