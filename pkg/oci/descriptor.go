package oci

import (
	"io/fs"
	"strconv"

	"golang.org/x/sys/unix"
)

// openat is unix.Openat, close-on-exec, again after a signal (which network file
// systems report even for O_PATH).
func openat(dirfd int, path string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(dirfd, path, flags|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// readlink returns the target of the link that fd, an O_PATH descriptor, is.
func readlink(fd int) (string, error) {
	var buf [unix.PathMax]byte
	n, err := unix.Readlinkat(fd, "", buf[:])
	switch {
	case err != nil:
		return "", err
	case n == 0:
		return "", unix.ENOENT // what the kernel says to an empty target
	case n == len(buf):
		return "", unix.ENAMETOOLONG
	}
	return string(buf[:n]), nil
}

// fdPath returns the host path of an open directory.
func fdPath(fd int) (string, error) {
	name := procFD(fd)
	var buf [unix.PathMax]byte
	n, err := unix.Readlink(name, buf[:])
	if err != nil {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: err}
	}
	return string(buf[:n]), nil
}

func procFD(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }
