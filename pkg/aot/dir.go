package aot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrUnsafeStore is returned for a store that somebody else could write to.
var ErrUnsafeStore = errors.New("refusing an unsafe artifact store")

const (
	dirFlags   = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	maxSymlink = 40
)

// openPrivateDir opens path, an absolute directory, and creates what is
// missing with mode 0700. It walks down from the root by descriptors. Every
// directory on the way must belong to root or to us and not be writable by
// others, except with the sticky bit; the last one must be ours with no
// permissions for others. Symbolic links are followed only where root put them
// (/var/run, /home on some distributions), never as the last component.
func openPrivateDir(path string) (*os.File, error) {
	if !filepath.IsAbs(path) {
		return nil, fmt.Errorf("%w: %q is not an absolute path", ErrUnsafeStore, path)
	}
	w := dirWalk{todo: strings.Split(filepath.Clean(path), "/")}
	if err := w.restart(); err != nil {
		return nil, err
	}
	for len(w.todo) > 0 {
		name := w.todo[0]
		w.todo = w.todo[1:]
		if name == "" || name == "." {
			continue
		}
		if err := w.step(name); err != nil {
			w.dir.Close()
			return nil, err
		}
	}
	if err := checkPrivate(int(w.dir.Fd()), path); err != nil {
		w.dir.Close()
		return nil, err
	}
	return w.dir, nil
}

// dirWalk is a walk in progress: dir is open and checked, todo lies below it.
type dirWalk struct {
	dir   *os.File
	todo  []string
	links int
}

func (w *dirWalk) restart() error {
	fd, err := unix.Open("/", dirFlags, 0)
	if err != nil {
		return fmt.Errorf("open /: %w", err)
	}
	w.enter(fd, "/")
	return nil
}

func (w *dirWalk) enter(fd int, path string) {
	if w.dir != nil {
		w.dir.Close()
	}
	w.dir = os.NewFile(uintptr(fd), path)
}

// step goes into the component, makes it, or puts a link's target in its place.
func (w *dirWalk) step(name string) error {
	here := filepath.Join(w.dir.Name(), name)
	fd := int(w.dir.Fd())
	next, err := unix.Openat(fd, name, dirFlags, 0)
	if errors.Is(err, unix.ENOENT) {
		if err = unix.Mkdirat(fd, name, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("create %q: %w", here, err)
		}
		next, err = unix.Openat(fd, name, dirFlags, 0)
	}
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) {
		return w.follow(name, here, err)
	}
	if err != nil {
		return fmt.Errorf("open %q: %w", here, err)
	}
	if err := checkAncestor(next, here); err != nil {
		unix.Close(next)
		return err
	}
	w.enter(next, here)
	return nil
}

// follow puts the target of a symbolic link at the head of the walk if root
// made the link. A target with ".." is resolved by name, and the walk begins
// again at the root, so that every component is checked.
func (w *dirWalk) follow(name, here string, cause error) error {
	var st unix.Stat_t
	if err := unix.Fstatat(int(w.dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("%q: %w", here, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		return fmt.Errorf("open %q: %w", here, cause)
	}
	w.links++
	if len(w.todo) == 0 || !rootOwner(st.Uid) || w.links > maxSymlink {
		return fmt.Errorf("%w: %q is a symbolic link", ErrUnsafeStore, here)
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(w.dir.Fd()), name, buf)
	if err != nil {
		return fmt.Errorf("%q: %w", here, err)
	}
	target := string(buf[:n])
	if !filepath.IsAbs(target) {
		target = filepath.Join(w.dir.Name(), target)
	}
	w.todo = append(strings.Split(filepath.Clean(target), "/"), w.todo...)
	return w.restart()
}

// rootOwner accepts root. In a user namespace the host's root is not mapped
// and shows as the overflow id, as do all other unmapped users: outside of what
// the namespace's owner can reach there is nobody else to trust.
func rootOwner(uid uint32) bool { return uid == 0 || uid == overflowUID && inUserNamespace() }

func trustedOwner(uid uint32) bool { return rootOwner(uid) || uid == uint32(os.Geteuid()) }

const overflowUID = 65534

func inUserNamespace() bool {
	b, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && strings.Join(strings.Fields(string(b)), " ") != "0 0 4294967295"
}

func checkAncestor(fd int, path string) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("%q: %w", path, err)
	}
	if !trustedOwner(st.Uid) {
		return fmt.Errorf("%w: %q belongs to uid %d", ErrUnsafeStore, path, st.Uid)
	}
	if st.Mode&0o022 != 0 && st.Mode&unix.S_ISVTX == 0 {
		return fmt.Errorf("%w: %q is writable by others (mode %04o)", ErrUnsafeStore, path, st.Mode&0o7777)
	}
	return nil
}

func checkPrivate(fd int, path string) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("%q: %w", path, err)
	}
	if st.Uid != uint32(os.Geteuid()) {
		return fmt.Errorf("%w: %q belongs to uid %d, not to uid %d", ErrUnsafeStore, path, st.Uid, os.Geteuid())
	}
	if st.Mode&0o077 != 0 {
		return fmt.Errorf("%w: %q is accessible to others (mode %04o, want 0700)", ErrUnsafeStore, path, st.Mode&0o7777)
	}
	return nil
}

// privateSubdir opens or creates one level below a verified directory.
func privateSubdir(dir *os.File, name string) (*os.File, error) {
	path := filepath.Join(dir.Name(), name)
	if err := unix.Mkdirat(int(dir.Fd()), name, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, fmt.Errorf("create %q: %w", path, err)
	}
	return openSubdir(dir, name)
}

// openSubdir is privateSubdir for one that is there.
func openSubdir(dir *os.File, name string) (*os.File, error) {
	path := filepath.Join(dir.Name(), name)
	fd, err := unix.Openat(int(dir.Fd()), name, dirFlags, 0)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) {
		return nil, fmt.Errorf("%w: %q is not a directory", ErrUnsafeStore, path)
	}
	if err != nil {
		return nil, fmt.Errorf("open %q: %w", path, err)
	}
	if err := checkPrivate(fd, path); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}
