package wire

import (
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// Socketpair makes the two ends of a connection, close-on-exec: for the
// supervisor and its engine, or for a worker and the engine.
func Socketpair() (a, b int, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, -1, fmt.Errorf("socketpair: %w", err)
	}
	return fds[0], fds[1], nil
}

// send gives the peer one message and duplicates of fds. The calls are bare ones
// of the kernel: the engine is to need neither Go's poller nor a thread for it.
func send(conn int, b []byte, fds ...int) error {
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	for {
		_, err := unix.SendmsgN(conn, b, rights, nil, unix.MSG_NOSIGNAL)
		if err != unix.EINTR {
			return err
		}
	}
}

// receive waits for one message and puts it into b; io.EOF if the peer is gone.
// Of descriptors it takes at most max; they are the caller's. One message too
// long for b, or with more descriptors, is ErrProtocol.
func receive(conn int, b []byte, max int) (n int, fds []int, err error) {
	oob := make([]byte, unix.CmsgSpace(4*(max+1)))
	var oobn, flags int
	for {
		n, oobn, flags, _, err = unix.Recvmsg(conn, b, oob, unix.MSG_CMSG_CLOEXEC)
		if err != unix.EINTR {
			break
		}
	}
	switch {
	case err == unix.ECONNRESET:
		return 0, nil, io.EOF
	case err != nil:
		return 0, nil, err
	}
	fds, err = rights(oob[:oobn])
	switch {
	case err != nil:
	case flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 || len(fds) > max:
		err = fmt.Errorf("%w: a message that is too long", ErrProtocol)
	case n == 0: // nobody sends an empty one
		err = io.EOF
	}
	if err != nil {
		closeAll(fds)
		return 0, nil, err
	}
	return n, fds, nil
}

// rights are the descriptors in a message's control data; they are open, and the
// caller's, if there is an error too.
func rights(oob []byte) (fds []int, err error) {
	if len(oob) == 0 {
		return nil, nil
	}
	list, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("%w: control data: %w", ErrProtocol, err)
	}
	for i := range list {
		more, err := unix.ParseUnixRights(&list[i])
		if err != nil {
			return fds, fmt.Errorf("%w: control data: %w", ErrProtocol, err)
		}
		fds = append(fds, more...)
	}
	return fds, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}

// hungUp says that the peer of a connection on which nothing is to be read is
// gone.
func hungUp(conn int) bool {
	var b [1]byte
	for {
		n, _, err := unix.Recvfrom(conn, b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		switch err {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return false
		case nil:
			return n == 0
		}
		return true
	}
}
