package oci

import (
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Limits of a walk. Links is the kernel's own; depth bounds the descriptors that a
// walk holds, and hence that a hostile tree can make us hold.
const (
	maxLinks = 40
	maxDepth = 128
)

// walk resolves paths in a tree component by component. It never lets the kernel
// follow a link or a "..": every directory from the container's root to where it
// stands is held open, so neither a link nor a rename can lead it out.
type walk struct {
	tree  *tree
	stack []place // stack[0] is the container's root
	name  []byte  // canonical path of the top, "" for the root
	links int
}

// place is one directory (at the top perhaps a file) on the way.
type place struct {
	fd    int    // O_PATH; -1: nothing that can be seen from here
	mode  uint32 // st_mode, a directory's for fd -1
	mount int    // index of the mount on which it lies
	end   int    // length of walk.name up to and with this component
	why   string // fd -1: what hides it, "" for a directory yet to be made
}

// hiddenError is the error for a path that leads into a mount that does not exist yet.
type hiddenError struct{ why string }

func (e *hiddenError) Error() string { return unix.ENOENT.Error() + " (" + e.why + ")" }

func (e *hiddenError) Unwrap() error { return unix.ENOENT }

func newWalk(t *tree) *walk {
	return &walk{
		tree:  t,
		stack: append(make([]place, 0, 8), place{fd: t.root, mode: unix.S_IFDIR, mount: noMount}),
	}
}

func (w *walk) close() { w.toRoot() }

// missing is the error for a place that holds nothing to look at.
func (p *place) missing() error {
	if p.why == "" {
		return unix.ENOENT
	}
	return &hiddenError{p.why}
}

func (w *walk) top() *place { return &w.stack[len(w.stack)-1] }

// path returns the canonical path of where the walk stands.
func (w *walk) path() string {
	if len(w.name) == 0 {
		return "/"
	}
	return string(w.name)
}

func (w *walk) toRoot() {
	for len(w.stack) > 1 {
		w.up()
	}
}

// up leaves the top; the root's parent is the root.
func (w *walk) up() {
	if len(w.stack) == 1 {
		return
	}
	if fd := w.top().fd; fd >= 0 {
		unix.Close(fd)
	}
	w.stack = w.stack[:len(w.stack)-1]
	w.name = w.name[:w.top().end]
}

// enter starts anew at the root and goes to p.
func (w *walk) enter(p string, create bool) error {
	w.toRoot()
	w.links = 0
	return w.to(p, create)
}

// to goes on to p from where the walk stands. With create, components that do not
// exist are taken as directories yet to be made.
func (w *walk) to(p string, create bool) error {
	if len(p) >= unix.PathMax {
		return unix.ENAMETOOLONG
	}
	if strings.HasPrefix(p, "/") {
		w.toRoot()
	}
	for rest := p; rest != ""; {
		comp, tail, slash := strings.Cut(rest, "/")
		rest = tail
		if w.top().mode&unix.S_IFMT != unix.S_IFDIR {
			return unix.ENOTDIR
		}
		switch comp {
		case "", ".":
			continue
		case "..":
			w.up()
			continue
		}
		link, err := w.down(comp, create)
		if err != nil {
			return err
		}
		if link != "" {
			if link[0] == '/' {
				w.toRoot()
			}
			rest = link
			if slash {
				rest += "/" + tail
			}
			continue
		}
		if slash && w.top().mode&unix.S_IFMT != unix.S_IFDIR {
			return unix.ENOTDIR
		}
	}
	return nil
}

// down enters comp, or returns the target if it is a symbolic link.
func (w *walk) down(comp string, create bool) (link string, err error) {
	if len(w.stack) > maxDepth {
		return "", fmt.Errorf("%w: more than %d directories", unix.ENAMETOOLONG, maxDepth)
	}
	parent := *w.top()
	w.name = append(append(w.name, '/'), comp...)
	defer func() { w.name = w.name[:w.top().end] }()

	if j := w.tree.mountAt(string(w.name), parent.mount); j != noMount {
		w.push(w.mounted(j))
		return "", nil
	}
	fd, err := -1, parent.missing()
	if parent.fd >= 0 {
		fd, err = w.lookup(&parent, comp)
	}
	if err != nil {
		if (err == unix.ENOENT || parent.fd < 0) && (create || w.tree.made[string(w.name)]) {
			w.push(place{fd: -1, mode: unix.S_IFDIR, mount: parent.mount, why: parent.why})
			return "", nil
		}
		return "", err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return "", err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		w.push(place{fd: fd, mode: st.Mode, mount: parent.mount})
		return "", nil
	}
	defer unix.Close(fd)
	if w.links++; w.links > maxLinks {
		return "", unix.ELOOP
	}
	return readlink(fd)
}

func (w *walk) push(p place) {
	p.end = len(w.name)
	w.stack = append(w.stack, p)
}

// lookup opens comp in p without following it.
func (w *walk) lookup(p *place, comp string) (int, error) {
	const flags = unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC
	// A bind mount that is not recursive shows what lies under the host's mounts,
	// which cannot be reached from here; the host's mount itself must not be
	// taken for it.
	if p.mount != noMount && !w.tree.mounts[p.mount].recursive {
		fd, err := unix.Openat2(p.fd, comp, &unix.OpenHow{Flags: flags, Resolve: unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_MAGICLINKS})
		switch err {
		case unix.ENOSYS, unix.EPERM: // before Linux 5.6, or seccomp
		case unix.EXDEV:
			return -1, unix.ENOENT
		default:
			return fd, err
		}
	}
	return openat(p.fd, comp, flags)
}

// mounted opens the root of mount j.
func (w *walk) mounted(j int) place {
	m := &w.tree.mounts[j]
	p := place{fd: -1, mode: unix.S_IFDIR, mount: j}
	if !m.bind {
		p.why = "covered by " + m.label
		if m.kind != "" {
			p.why += ", a mount of type " + m.kind
		}
		return p
	}
	source := m.source
	if !strings.HasPrefix(source, "/") {
		source = filepath.Clean(source) // as libcontainer joins it to the bundle, "" being the bundle
	}
	fd, err := openat(w.tree.bundle, source, unix.O_PATH)
	if err != nil {
		p.why = fmt.Sprintf("%s.source %s: %v", m.label, m.source, err)
		return p
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		p.why = fmt.Sprintf("%s.source %s: %v", m.label, m.source, err)
		return p
	}
	p.fd, p.mode = fd, st.Mode
	return p
}
