package oci

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// maxEnv is the longest environment string that execve takes (MAX_ARG_STRLEN). A
// longer PATH could not reach a program, and bounds the search.
const maxEnv = 128 << 10

// headLen is how much of a file is read, in bytes: Wasm's header is 8 long, the
// rest is for naming what else was found.
const headLen = 64

// finder looks for a process's entrypoint.
type finder struct {
	walk    *walk
	process *specs.Process
	forced  bool
}

// candidate is a file that args[0] may mean.
type candidate struct {
	path   string
	mode   uint32
	fd     int // open for reading if kind is not Native, else -1
	kind   Kind
	export string
	what   string // Native: what it is, for messages
	text   bool   // Native: WebAssembly text
	fault  error  // it starts as Wasm does and is not valid
	denied error  // it could not be opened for reading
}

// wasm tells whether only a Wasm engine can do anything with c.
func (c *candidate) wasm() bool { return c.kind != Native || c.fault != nil }

// find returns what args[0] means: the file of that name, or else, if name has
// the form path#func, the Wasm module of that path. The first Wasm file that any of
// the lookups meets is the result, so no other candidate holds a descriptor.
func (f *finder) find(name string) (*candidate, error) {
	c, err := f.named(name)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return c, err
	}
	// The first and the last '#' and no other: names of exports as well as of
	// files may hold one, and trying them all would be quadratic.
	for _, i := range []int{strings.IndexByte(name, '#'), strings.LastIndexByte(name, '#')} {
		if i <= 0 || i == len(name)-1 {
			continue
		}
		c, err2 := f.named(name[:i])
		if err2 != nil {
			continue
		}
		if f.forced || c.wasm() {
			c.export = name[i+1:]
			return c, nil
		}
	}
	return nil, err
}

// named looks name up as exec.LookPath does inside the container.
func (f *finder) named(name string) (*candidate, error) {
	switch {
	case name == "", name == ".", name == "..":
		return nil, ErrNotFound
	case strings.Contains(name, "/"):
		c, err := f.open(name)
		if err != nil {
			return nil, statError(name, err)
		}
		return c, nil
	}
	return f.search(name)
}

// search goes through PATH: the first file that is executable or Wasm counts. A
// module in none of its directories is taken from the working directory, where
// the other Wasm runtimes look: an image of one file has no PATH worth the name.
func (f *finder) search(name string) (*candidate, error) {
	var first *candidate // regular, but neither executable nor Wasm
	list, _ := f.lookupEnv("PATH")
	dirs := filepath.SplitList(list)
	for i := 0; i <= len(dirs); i++ {
		file := "./" + name
		if i < len(dirs) {
			file = filepath.Join(dirs[i], name)
		}
		c, err := f.open(file)
		if err != nil {
			continue
		}
		if c.wasm() || i < len(dirs) && executable(c.mode) {
			return c, nil
		}
		if first == nil && c.mode&unix.S_IFMT == unix.S_IFREG {
			first = c
		}
	}
	if first != nil && f.forced {
		return first, nil
	}
	return nil, ErrNotFound
}

// executable is exec.LookPath's test as far as it can be made from outside: the
// container's user and its groups are not asked.
func executable(mode uint32) bool {
	return mode&unix.S_IFMT != unix.S_IFDIR && mode&0o111 != 0
}

// lookupEnv returns the last value of key in process.env, the one that
// libcontainer keeps. Without PATH nothing is found, as in runc: its init process
// has an empty environment.
func (f *finder) lookupEnv(key string) (string, bool) {
	for i := len(f.process.Env) - 1; i >= 0; i-- {
		if k, v, ok := strings.Cut(f.process.Env[i], "="); ok && k == key && len(v) < maxEnv {
			return v, true
		}
	}
	return "", false
}

// open resolves file and looks at its first bytes. Relative paths start at
// process.cwd, which libcontainer makes if it does not exist.
func (f *finder) open(file string) (*candidate, error) {
	w := f.walk
	w.toRoot()
	w.links = 0
	if file[0] != '/' {
		if err := w.to(f.process.Cwd, true); err != nil {
			return nil, err
		}
		w.links = 0
	}
	if err := w.to(file, false); err != nil {
		return nil, err
	}
	top := w.top()
	if top.fd < 0 {
		return nil, top.missing()
	}
	c := &candidate{path: w.path(), mode: top.mode, fd: -1}
	if top.mode&unix.S_IFMT != unix.S_IFREG {
		c.what = fileType(top.mode)
		return c, nil
	}
	c.read(top.fd)
	return c, nil
}

// read opens the regular file behind the O_PATH descriptor and classifies it. The
// type was checked on that descriptor and not by name, so no fifo or device can
// have taken its place; O_NONBLOCK is for a lease that a process sharing the file
// may hold.
func (c *candidate) read(pathfd int) {
	fd, err := openat(unix.AT_FDCWD, procFD(pathfd), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		c.denied = err
		return
	}
	var head [headLen]byte
	n, err := unix.Pread(fd, head[:], 0)
	if err != nil {
		unix.Close(fd)
		c.denied = err
		return
	}
	c.sniff(head[:n])
	if c.kind == Native {
		unix.Close(fd)
		return
	}
	c.fd = fd
}

// sniff sets kind, what, text and fault by the first bytes of the file. The header
// of Wasm is "\0asm", a version of 16 bits and a layer of 16 bits: 0 for core
// modules, 1 for components.
func (c *candidate) sniff(head []byte) {
	const magic = "\x00asm"
	switch {
	case len(head) == 0:
		c.what = "an empty file"
	case bytes.HasPrefix(head, []byte(magic)) && len(head) < 8:
		c.fault = fmt.Errorf("%w: only %d of 8 header bytes", ErrModuleVersion, len(head))
	case bytes.HasPrefix(head, []byte(magic+"\x01\x00\x00\x00")):
		c.kind = Module
	case bytes.HasPrefix(head, []byte(magic+"\x0d\x00\x01\x00")):
		c.kind = Component
	case bytes.HasPrefix(head, []byte(magic)):
		c.fault = fmt.Errorf("%w: header bytes % x", ErrModuleVersion, head[4:8])
	case bytes.HasPrefix(head, []byte("\x7fELF")):
		c.what = "an ELF program"
	case bytes.HasPrefix(head, []byte("#!")):
		line, _, _ := bytes.Cut(head, []byte("\n"))
		c.what = fmt.Sprintf("a script (%q)", line)
	case isText(c.path, head):
		c.text = true
		c.what = "WebAssembly text"
	default:
		c.what = fmt.Sprintf("a file without Wasm's magic bytes (it starts with % x)", head[:min(len(head), 8)])
	}
}

// isText tells WebAssembly text by its first list, or by a comment and its name.
func isText(name string, head []byte) bool {
	head = bytes.TrimLeft(head, " \t\r\n")
	return bytes.HasPrefix(head, []byte("(module")) || bytes.HasPrefix(head, []byte("(component")) ||
		strings.HasSuffix(name, ".wat") && (bytes.HasPrefix(head, []byte(";;")) || bytes.HasPrefix(head, []byte("(")))
}

// statError words a failed lookup as os.Stat would have inside the container.
func statError(name string, err error) error {
	return &fs.PathError{Op: "stat", Path: name, Err: err}
}
