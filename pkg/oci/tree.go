package oci

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// tree is the file tree that the container will see, put together from the rootfs
// and the mounts of config.json before any of them is mounted.
type tree struct {
	bundle int // O_PATH descriptor: relative bind sources start here
	root   int // O_PATH descriptor of the rootfs
	mounts []mount
	// at holds the indices of the mounts on each canonical path, ascending.
	at map[string][]int
	// made holds the directories above the mounts: where the image has none,
	// libcontainer makes them.
	made map[string]bool
}

// mount is one entry of config.json's mounts, or a masked path. Only a bind mount
// has contents that can be looked at from here.
type mount struct {
	bind, recursive bool
	source          string // bind: host path, relative to the bundle if not absolute
	kind            string // type, for messages
	label           string // JSON path, for messages
}

// noMount is the index of the rootfs itself, below every mount.
const noMount = -1

// newTree opens the rootfs of b and places its mounts.
func newTree(b *Bundle) (*tree, error) {
	t := &tree{bundle: -1, root: -1}
	var err error
	if t.bundle, err = unix.Open(b.Dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return nil, fmt.Errorf("bundle: %w", &fs.PathError{Op: "open", Path: b.Dir, Err: err})
	}
	rootfs := filepath.Clean(b.Spec.Root.Path)
	if t.root, err = openat(t.bundle, rootfs, unix.O_PATH|unix.O_DIRECTORY); err != nil {
		t.close()
		return nil, &FieldError{"root.path", &fs.PathError{Op: "open", Path: rootfs, Err: err}}
	}
	if err := t.place(b.Spec); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

func (t *tree) close() {
	if t.bundle >= 0 {
		unix.Close(t.bundle)
	}
	if t.root >= 0 {
		unix.Close(t.root)
	}
}

// place puts the mounts into the tree in the order in which libcontainer mounts
// them, the masked paths last.
func (t *tree) place(spec *specs.Spec) error {
	var masked []string
	if spec.Linux != nil {
		masked = spec.Linux.MaskedPaths
	}
	n := len(spec.Mounts) + len(masked)
	if n == 0 {
		return nil
	}
	t.at = make(map[string][]int, n)
	t.made = make(map[string]bool, n)
	t.mounts = make([]mount, 0, n)
	host, err := fdPath(t.root)
	if err != nil {
		return &FieldError{"root.path", err}
	}
	w := newWalk(t)
	defer w.close()
	for i := range spec.Mounts {
		m := &spec.Mounts[i]
		bind, rbind := slices.Contains(m.Options, "bind"), slices.Contains(m.Options, "rbind")
		if m.Type == "tmpfs" && !bind && !rbind && slices.Contains(m.Options, "tmpcopyup") {
			continue // holds a copy of what it covers
		}
		dest := t.add(w, stripRoot(host, m.Destination), mount{
			bind: bind || rbind, recursive: rbind, source: m.Source,
			kind: m.Type, label: "mounts[" + strconv.Itoa(i) + "]",
		})
		for d := filepath.Dir(dest); d != "/" && !t.made[d]; d = filepath.Dir(d) {
			t.made[d] = true
		}
	}
	for i, p := range masked {
		t.add(w, filepath.Clean("/"+p), mount{label: "linux.maskedPaths[" + strconv.Itoa(i) + "]"})
	}
	return nil
}

// add places m at dest, a clean absolute path whose symbolic links libcontainer
// will follow through the rootfs and the mounts made so far, and returns the path
// to which they lead. libcontainer refuses a mount on "/" with a message of its own.
func (t *tree) add(w *walk, dest string, m mount) string {
	dest = t.canonical(w, dest)
	if dest != "/" {
		t.at[dest] = append(t.at[dest], len(t.mounts))
		t.mounts = append(t.mounts, m)
	}
	return dest
}

// canonical resolves the symbolic links in dest; components that do not exist
// stand for the directories that libcontainer will make. A dest that cannot be
// resolved stays as it is: libcontainer will refuse to mount there.
func (t *tree) canonical(w *walk, dest string) string {
	switch top := t.covering(dest); {
	case top != noMount && !t.mounts[top].bind:
		return dest // nothing to see there, so no links
	case top == noMount && t.plain(dest):
		return dest
	}
	if err := w.enter(dest, true); err != nil {
		return dest
	}
	return w.path()
}

// covering returns the mount on which dest or its nearest mounted parent lies.
func (t *tree) covering(dest string) int {
	top := noMount
	if len(t.mounts) == 0 {
		return top
	}
	for i := 1; i <= len(dest); i++ {
		if i == len(dest) || dest[i] == '/' {
			if j := t.mountAt(dest[:i], top); j != noMount {
				top = j
			}
		}
	}
	return top
}

// mountAt returns the last mount on the canonical path p that was mounted after
// (and so is not hidden by) the mount below, noMount if there is none.
func (t *tree) mountAt(p string, below int) int {
	if list := t.at[p]; len(list) > 0 && list[len(list)-1] > below {
		return list[len(list)-1]
	}
	return noMount
}

// plain tells whether there is certainly no symbolic link on dest in the rootfs:
// one system call for the usual mount, where a walk takes three per component.
func (t *tree) plain(dest string) bool {
	fd, err := unix.Openat2(t.root, dest[1:], &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	if err == nil {
		unix.Close(fd)
	}
	return err == nil || err == unix.ENOENT
}

// stripRoot makes a mount destination absolute, and takes off the host path of
// the rootfs where it starts with it, as libcontainer does for old callers.
func stripRoot(rootfs, dest string) string {
	dest = filepath.Clean("/" + dest)
	if rootfs == "/" {
		return dest
	}
	if rest, ok := strings.CutPrefix(dest, rootfs); ok && (rest == "" || rest[0] == '/') {
		return "/" + strings.TrimPrefix(rest, "/")
	}
	return dest
}
