package hostfuncs

import "golang.org/x/sys/unix"

type dirStream struct{}

// newEntry describes a descriptor that comes into the table.
func newEntry(fd int, shared bool) (*entry, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	kind, err := filetypeOf(fd, st.Mode)
	if err != nil {
		return nil, err
	}
	e := &entry{fd: fd, kind: kind, shared: shared}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return nil, err
	}
	if flags&unix.O_NONBLOCK != 0 {
		e.flags |= fdflagNonblock
	}
	return e, nil
}

func filetypeOf(fd int, mode uint32) (filetype, error) {
	switch mode & unix.S_IFMT {
	case unix.S_IFBLK:
		return filetypeBlock, nil
	case unix.S_IFCHR:
		return filetypeChar, nil
	case unix.S_IFDIR:
		return filetypeDir, nil
	case unix.S_IFREG:
		return filetypeRegular, nil
	case unix.S_IFSOCK:
		kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
		if kind == unix.SOCK_DGRAM {
			return filetypeSocketDgram, err
		}
		return filetypeSocket, err
	}
	return filetypeUnknown, nil
}

// openPreopen opens one directory of Config.Preopens.
func openPreopen(p Preopen) (*entry, error) {
	fd, err := unix.Open(p.Path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return &entry{fd: fd, kind: filetypeDir, preopen: true, name: p.Name, readOnly: p.ReadOnly}, nil
}
