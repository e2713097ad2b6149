package integration

import (
	"encoding/json"
	"errors"
	"net"
	"path/filepath"
	"testing"
	"time"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// notification and notifyAnswer are struct seccomp_notif and seccomp_notif_resp.
type notification struct {
	id         uint64
	pid, flags uint32
	number     int32
	arch       uint32
	address    uint64
	args       [6]uint64
}

type notifyAnswer struct {
	id           uint64
	value        int64
	errno, flags int32
}

// The kernel's SECCOMP_IOCTL_NOTIF_RECV and _SEND (seccomp_unotify(2)).
const (
	notifReceive = 0xc0502100
	notifSend    = 0xc0182101
)

// A call that the profile hands to an agent is the agent's to answer: its errno is what the
// program sees, and the agent is told whose call it is, as config-linux.md has it.
func TestSeccompNotify(t *testing.T) {
	notOn(t, "crun", "1.8.1 sends the state of ociVersion 1.0 only")
	both(t, func(t *testing.T, guest string) {
		args := []string{"mkdir", "/made"}
		if guest == "busybox" {
			args = []string{"busybox", "mkdir", "/made"}
		}
		b := newBox(t, guest, args...)
		socket := filepath.Join(b.dir, "agent.sock")
		listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
		must(t, err)
		defer listener.Close()
		b.Spec.Linux.Seccomp = &specs.LinuxSeccomp{
			DefaultAction: specs.ActAllow, ListenerPath: socket, ListenerMetadata: "for the agent",
			Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdir", "mkdirat"}, Action: specs.ActNotify}},
		}
		type heard struct {
			state  specs.ContainerProcessState
			number int32
			err    error
		}
		said := make(chan heard, 1)
		go func() {
			var h heard
			h.state, h.number, h.err = agent(listener)
			said <- h
		}()
		res := b.run().exits(1)
		if guest == "busybox" {
			res.warns("No medium found")
		}
		h := <-said
		must(t, h.err)
		if h.number != unix.SYS_MKDIR && h.number != unix.SYS_MKDIRAT {
			t.Errorf("call %d", h.number)
		}
		if s := h.state; s.Metadata != "for the agent" || len(s.Fds) != 1 || s.Fds[0] != specs.SeccompFdName || s.Pid == 0 ||
			s.State.ID != b.id || s.State.Bundle != b.Dir || s.State.Status != specs.StateCreating {
			t.Errorf("the agent was told %+v", s)
		}
	})
	t.Run("without an agent", func(t *testing.T) {
		b := newBox(t, "busybox", "true")
		b.Spec.Linux.Seccomp = &specs.LinuxSeccomp{
			DefaultAction: specs.ActAllow, ListenerPath: filepath.Join(b.dir, "nosuch.sock"),
			Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdir"}, Action: specs.ActNotify}},
		}
		b.run().exits(1).warns("nosuch.sock")
	})
}

// agent takes one container's filter and answers its first call with ENOMEDIUM, which
// nobody else would.
func agent(listener *net.UnixListener) (state specs.ContainerProcessState, number int32, err error) {
	must := func(e error) bool { err = errors.Join(err, e); return e == nil }
	if !must(listener.SetDeadline(time.Now().Add(commandTimeout))) {
		return
	}
	conn, err := listener.AcceptUnix()
	if err != nil {
		return
	}
	defer conn.Close()
	text, control := make([]byte, 64<<10), make([]byte, 256)
	n, oobn, _, _, err := conn.ReadMsgUnix(text, control)
	if err != nil {
		return
	}
	if !must(json.Unmarshal(text[:n], &state)) {
		return
	}
	messages, err := unix.ParseSocketControlMessage(control[:oobn])
	if err != nil || len(messages) != 1 {
		err = errors.Join(err, errors.New("want one control message"))
		return
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		err = errors.Join(err, errors.New("want one descriptor"))
		return
	}
	defer unix.Close(fds[0])
	var call notification
	if err = ioctl(fds[0], notifReceive, unsafe.Pointer(&call)); err != nil {
		return
	}
	reply := notifyAnswer{id: call.id, errno: -int32(unix.ENOMEDIUM)}
	return state, call.number, ioctl(fds[0], notifSend, unsafe.Pointer(&reply))
}

func ioctl(fd int, request uintptr, argument unsafe.Pointer) error {
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(argument))
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
		default:
			return errno
		}
	}
}
