package sandbox

import (
	"fmt"
	"os"
	"strconv"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"
)

// firstFD is the first descriptor that may be handed on (sd_listen_fds(3)).
const firstFD = 3

// passFiles gives p the sockets of systemd's socket activation, listen of them,
// and after them the n descriptors of --preserve-fds, under the numbers they
// have here.
func passFiles(p *libcontainer.Process, listen, n int) error {
	if listen > 0 {
		// The program is pid 1 of its namespace; libcontainer documents no
		// better number for a joined one, and runc says 1 as well.
		p.Env = append(p.Env, "LISTEN_FDS="+strconv.Itoa(listen), "LISTEN_PID=1")
	}
	for i := range listen + n {
		fd := firstFD + i
		// What was inherited is never close-on-exec, what Go opened here always
		// is: a count that is too high must not hand on the log file.
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err == nil && flags&unix.FD_CLOEXEC != 0 {
			err = unix.EBADF
		}
		if err != nil {
			return fmt.Errorf("unable to stat preserved-fd %d (of %d): %w", i-listen, n, err)
		}
		unix.CloseOnExec(fd)
		p.ExtraFiles = append(p.ExtraFiles, os.NewFile(uintptr(fd), "fd "+strconv.Itoa(fd)))
	}
	return nil
}

// listenFDs counts the sockets that systemd passed to this very process.
func listenFDs() int {
	pid, err := strconv.Atoi(os.Getenv("LISTEN_PID"))
	if err != nil || pid != os.Getpid() {
		return 0
	}
	n, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if err != nil || n < 0 {
		return 0
	}
	return n
}
