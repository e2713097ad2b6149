package aot

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// mapping is a file mapped read-only. The files are never truncated: those of
// the store are replaced by rename, the others are sealed.
type mapping struct{ b []byte }

// mapFile maps a regular file. flags are mmap flags beside MAP_PRIVATE, such
// as MAP_POPULATE where all of it will be read.
func mapFile(f *os.File, flags int) (*mapping, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, fmt.Errorf("artifact: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("%w: not a regular file", ErrDamaged)
	}
	if st.Size == 0 { // mmap(2) calls it invalid
		return nil, fmt.Errorf("%w: empty", ErrDamaged)
	}
	b, err := unix.Mmap(int(f.Fd()), 0, int(st.Size), unix.PROT_READ, unix.MAP_PRIVATE|flags)
	if err != nil {
		return nil, fmt.Errorf("artifact: map: %w", err)
	}
	return &mapping{b}, nil
}

func (m *mapping) close() { unix.Munmap(m.b) }

// memoryFile writes a into a sealed memfd: as immutable as the store's files,
// gone with the last descriptor.
func memoryFile(a *artifact) (*os.File, error) {
	return sealed(func(f *os.File) error { return a.writeTo(f) })
}

// sealed makes a memfd, has it filled, and seals it for good.
func sealed(fill func(*os.File) error) (*os.File, error) {
	fd, err := unix.MemfdCreate("runw-artifact", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("artifact in memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), "runw-artifact")
	if err = fill(f); err == nil {
		_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("artifact in memory: %w", err)
	}
	return f, nil
}
