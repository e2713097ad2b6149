package aot

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// readOnly gives a descriptor of the same file that cannot be turned into a
// writable one. An engine process that runs as root, if a guest broke out of
// it, could open /proc/self/fd/N of a plain descriptor for writing and so put
// its code into the store, for every other container to run (runc's
// CVE-2019-5736 went this way). A descriptor below a detached read-only mount
// of the file refuses that for every user: Linux 5.12, and CAP_SYS_ADMIN.
func readOnly(f *os.File) (*os.File, error) {
	tree, err := unix.OpenTree(int(f.Fd()), "", unix.AT_EMPTY_PATH|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("clone mount: %w", err)
	}
	defer unix.Close(tree)
	attr := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, attr); err != nil {
		return nil, fmt.Errorf("read-only mount: %w", err)
	}
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", tree), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open below the read-only mount: %w", err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// shielded turns the store's file into what may leave this process: a
// read-only view where the kernel and our rights allow one, else a sealed copy.
func shielded(f *os.File) (*os.File, error) {
	defer f.Close()
	return Shield(f)
}

// Shield does the same for a file that is not the store's, such as the module:
// a container that is given it read-only must not find a way to write to it.
// The given file stays open.
func Shield(f *os.File) (*os.File, error) {
	if ro, err := readOnly(f); err == nil {
		return ro, nil
	}
	return sealedCopy(f)
}

func sealedCopy(f *os.File) (*os.File, error) {
	m, err := mapFile(f, 0)
	if err != nil {
		return nil, err
	}
	defer m.close()
	return sealed(func(out *os.File) error {
		_, err := out.Write(m.b)
		return err
	})
}
