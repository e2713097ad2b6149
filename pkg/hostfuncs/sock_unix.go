package hostfuncs

import (
	"bytes"
	"strings"

	"golang.org/x/sys/unix"
)

// unixPath is the path in an AF_UNIX address; "" for an abstract name and for
// none, which are not in the file system.
func (s *sockaddr) unixPath() string {
	name := s.octets()
	if len(name) == 0 || name[0] == 0 {
		return ""
	}
	if i := bytes.IndexByte(name, 0); i >= 0 {
		name = name[:i]
	}
	return string(name)
}

// preopenOf finds the preopen that a path begins at which no libc has split, as
// libc does: the longest name that fits, "." for a relative path. path is not
// empty.
func (h *Host) preopenOf(path string) (*entry, string, Errno) {
	var dir *entry
	var rest string
	best := -1
	for _, e := range h.files.entries {
		if e == nil || !e.preopen || len(e.name) <= best {
			continue
		}
		if r, ok := below(path, e.name); ok {
			dir, rest, best = e, r, len(e.name)
		}
	}
	if dir == nil {
		return nil, "", errnoNotcapable
	}
	return dir, rest, errnoSuccess
}

// below cuts the directory's name off the front of path.
func below(path, dir string) (string, bool) {
	if dir == "." {
		return path, path[0] != '/'
	}
	if dir == "/" {
		return strings.TrimLeft(path, "/"), path[0] == '/'
	}
	rest, ok := strings.CutPrefix(path, dir)
	if !ok || !strings.HasPrefix(rest, "/") {
		return "", false
	}
	return strings.TrimLeft(rest, "/"), true
}

// bindUnix makes a socket file where the guest could make any other file.
func (h *Host) bindUnix(e *entry, a *sockaddr) Errno {
	path := a.unixPath()
	if path == "" {
		return a.bind(e.fd)
	}
	dir, rest, errno := h.preopenOf(path)
	switch {
	case errno != errnoSuccess:
		return errno
	case rest == "":
		return errnoAddrinuse
	case dir.readOnly:
		return errnoRofs
	}
	in, errno := h.parent(dir, rest)
	if errno != errnoSuccess {
		return errno
	}
	defer in.close()
	errno = inDirectory(in.fd, func() Errno {
		a.setUnix(append([]byte(in.at()), 0))
		return a.bind(e.fd)
	})
	if errno == errnoSuccess {
		e.name = path
	}
	return errno
}

// connectUnix reaches what the guest could open as a file.
func (h *Host) connectUnix(e *entry, a *sockaddr) Errno {
	return h.sendUnix(a, func() Errno {
		errno := a.connect(e.fd, e.mayBlock())
		for errno == errnoIntr {
			errno = a.connect(e.fd, true)
		}
		return errno
	})
}

// sendUnix runs call with a naming the socket relative to the directory that
// call runs in. Symlinks are followed here: the kernel would follow them to
// anywhere.
func (h *Host) sendUnix(a *sockaddr, call func() Errno) Errno {
	path := a.unixPath()
	if path == "" {
		return call()
	}
	dir, rest, errno := h.preopenOf(path)
	if errno != errnoSuccess {
		return errno
	}
	if rest == "" {
		return errnoConnrefused // a directory
	}
	in, errno := h.finalParent(dir, rest)
	if errno != errnoSuccess {
		return errno
	}
	defer in.close()
	return inDirectory(in.fd, func() Errno {
		a.setUnix(append([]byte(in.at()), 0))
		return call()
	})
}

// inDirectory runs call with fd as the working directory: AF_UNIX has no call
// that takes a directory, /proc/self/fd needs a procfs, and the path of the
// directory may be longer than an address. Nothing else in this process looks
// at its working directory while the guest is in a host call.
func inDirectory(fd int, call func() Errno) Errno {
	back, err := unix.Open(".", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return errnoOf(err)
	}
	defer unix.Close(back)
	if err := unix.Fchdir(fd); err != nil {
		return errnoOf(err)
	}
	errno := call()
	if err := unix.Fchdir(back); err != nil {
		return errnoOf(err)
	}
	return errno
}
