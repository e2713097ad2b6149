package oci

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Preopen is a directory of the container that a Wasm guest gets opened.
type Preopen struct {
	// Name is the path under which the guest knows the directory: "." or a
	// clean absolute path.
	Name string
	// Path is the directory's absolute path inside the container.
	Path string
	// ReadOnly refuses writes below Path even where the mount allows them. A
	// read-only mount stays read-only without it.
	ReadOnly bool
}

// Preopens returns the directories for the guest of spec, in the order in which
// they take descriptors: "." (process.cwd) and "/" unless AnnotationPreopens
// narrows them.
//
// The annotation is PreopensNone or a comma separated list of GUEST[=PATH][:ro].
// GUEST is "." or a clean absolute path; PATH, a clean absolute path inside the
// container, is GUEST itself (process.cwd for ".") when left out. Errors are
// *FieldError and name the annotation.
//
// "." always comes first: wasi-libc compares absolute paths with both "." and "/"
// as empty prefixes and takes the last that matches as well as the others, so a "."
// behind "/" would turn "/etc/hosts" into a path below the working directory.
func Preopens(spec *specs.Spec) ([]Preopen, error) {
	cwd := "/"
	if spec.Process != nil && spec.Process.Cwd != "" {
		cwd = spec.Process.Cwd
	}
	value, ok := spec.Annotations[AnnotationPreopens]
	if !ok {
		return []Preopen{{Name: ".", Path: cwd}, {Name: "/", Path: "/"}}, nil
	}
	if value == PreopensNone {
		return nil, nil
	}
	var list []Preopen
	for entry := range strings.SplitSeq(value, ",") {
		p, err := parsePreopen(entry, cwd)
		if err == nil && slices.ContainsFunc(list, func(q Preopen) bool { return q.Name == p.Name }) {
			err = fmt.Errorf("%s is given twice", p.Name)
		}
		if err != nil {
			return nil, &FieldError{fmt.Sprintf("annotations[%q]", AnnotationPreopens), err}
		}
		if p.Name == "." {
			list = slices.Insert(list, 0, p)
		} else {
			list = append(list, p)
		}
	}
	return list, nil
}

// CheckPreopens reports the first directory of list that the container will not
// have, as far as that can be seen before its mounts are made: what lies inside
// a file system still to be mounted is taken to be there.
func CheckPreopens(b *Bundle, list []Preopen) error {
	if _, ok := b.Spec.Annotations[AnnotationPreopens]; !ok {
		return nil // the root, and the working directory, which libcontainer checks
	}
	t, err := newTree(b)
	if err != nil {
		return err
	}
	defer t.close()
	return checkPreopens(t, list)
}

func checkPreopens(t *tree, list []Preopen) error {
	w := newWalk(t)
	defer w.close()
	for _, p := range list {
		err := w.enter(p.Path, false)
		if err == nil && w.top().mode&unix.S_IFMT != unix.S_IFDIR {
			err = unix.ENOTDIR
		}
		var hidden *hiddenError
		if err != nil && !errors.As(err, &hidden) {
			return &FieldError{fmt.Sprintf("annotations[%q]", AnnotationPreopens), &fs.PathError{Op: "open", Path: p.Path, Err: err}}
		}
	}
	return nil
}

func parsePreopen(entry, cwd string) (Preopen, error) {
	rest, readOnly := strings.CutSuffix(entry, ":ro")
	name, dir, given := strings.Cut(rest, "=")
	switch {
	case rest == "":
		return Preopen{}, fmt.Errorf("empty entry: want GUEST[=PATH][:ro] or %q", PreopensNone)
	case hasNUL(rest):
		return Preopen{}, fmt.Errorf("%q %w", entry, errNUL)
	case name != "." && !cleanAbs(name):
		return Preopen{}, fmt.Errorf("%q: %q is neither \".\" nor a clean absolute path", entry, name)
	case given && !cleanAbs(dir):
		return Preopen{}, fmt.Errorf("%q: %q is not a clean absolute path", entry, dir)
	case !given && name == ".":
		dir = cwd
	case !given:
		dir = name
	}
	return Preopen{Name: name, Path: dir, ReadOnly: readOnly}, nil
}

func cleanAbs(p string) bool { return path.IsAbs(p) && path.Clean(p) == p }
