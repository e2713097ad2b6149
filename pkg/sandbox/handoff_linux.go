package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

const handoffSeals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE

// handoffFile puts the handoff on a memfd that nobody can change any more.
func handoffFile(h *Handoff) (_ *os.File, retErr error) {
	b := h.Encode()
	if len(b) > maxHandoff {
		return nil, fmt.Errorf("arguments and environment take %d bytes: %w", len(b), unix.E2BIG)
	}
	f, err := unnamedFile("runw-handoff")
	if err != nil {
		return nil, fmt.Errorf("memfd for the handoff: %w", err)
	}
	defer func() {
		if retErr != nil {
			f.Close()
		}
	}()
	if _, err := f.Write(b); err != nil {
		return nil, fmt.Errorf("handoff: %w", err)
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, handoffSeals); err != nil {
		return nil, fmt.Errorf("seal the handoff: %w", err)
	}
	return f, nil
}

// unnamedFile makes a file without a path that can be sealed and never executed.
func unnamedFile(name string) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // MFD_NOEXEC_SEAL came with Linux 6.3.
		fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// Received is a handoff with its descriptors, as the engine process finds them.
type Received struct {
	Handoff
	// All are close-on-exec, and all but Module may be nil. Metrics has to stay
	// open: `events` finds it by the descriptor.
	Module, Metrics, Artifact *os.File
	// Helper is the engine's end of the socket to the helper for inference,
	// close-on-exec, or -1. It is no os.File: Go's poller is not to have it.
	Helper int
	// Files are the guest's descriptors from 3 on.
	Files []int
}

// ReadHandoff takes what the parent left on descriptor fd and those behind it.
// It refuses a handoff that is not sealed: the parent's always is, so this one
// comes from somebody else.
func ReadHandoff(fd int) (*Received, error) {
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil || seals&handoffSeals != handoffSeals {
		return nil, fmt.Errorf("%w: fd %d is no sealed memfd", ErrHandoff, fd)
	}
	f := os.NewFile(uintptr(fd), "handoff")
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, 0, maxHandoff+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrHandoff, err)
	}
	h, err := DecodeHandoff(b)
	if err != nil {
		return nil, err
	}
	if fd != 3+h.Inherited {
		return nil, fmt.Errorf("%w: on fd %d with %d inherited", ErrHandoff, fd, h.Inherited)
	}
	r := &Received{Handoff: *h, Module: received(fd+1, "module"), Helper: -1}
	next := fd + 2
	if h.Metrics {
		r.Metrics = received(next, "metrics")
		next++
	}
	if h.Artifact {
		r.Artifact = received(next, "artifact")
		next++
	}
	if h.Inference {
		unix.CloseOnExec(next)
		r.Helper = next
	}
	for i := range h.Inherited {
		r.Files = append(r.Files, 3+i)
	}
	return r, nil
}

func received(fd int, name string) *os.File {
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), name)
}
