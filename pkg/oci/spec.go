package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// SpecFile is the name of the specification file in a bundle directory.
const SpecFile = "config.json"

// MaxSpecSize is the largest config.json that is read, in bytes. The largest
// files that engines write (hundreds of mounts and a full seccomp profile) stay
// below 1 MiB.
const MaxSpecSize = 16 << 20

// ErrSpecTooLarge tells that config.json is longer than MaxSpecSize bytes.
var ErrSpecTooLarge = fmt.Errorf("larger than %d bytes", MaxSpecSize)

// Bundle is an OCI bundle: a directory that holds config.json, and what
// config.json says.
type Bundle struct {
	// Dir is the absolute path of the bundle directory; symbolic links in it
	// are kept as the caller gave them.
	Dir string
	// Spec is the validated specification, never nil after Load.
	Spec *specs.Spec
}

// FieldError is a fault in one field of config.json.
type FieldError struct {
	// Field is the JSON path of the field, such as "process.env[3]".
	Field string
	// Err is the fault.
	Err error
}

// Error returns the JSON path of the field, a colon and the fault.
func (e *FieldError) Error() string { return e.Field + ": " + e.Err.Error() }

// Unwrap returns the fault.
func (e *FieldError) Unwrap() error { return e.Err }

// specMissingError is a type of its own because clients look for runc's whole
// sentence, to which wrapping fs.ErrNotExist with %w would add words.
type specMissingError struct{}

func (specMissingError) Error() string { return "JSON specification file " + SpecFile + " not found" }

func (specMissingError) Is(target error) bool { return target == fs.ErrNotExist }

// Load reads and validates the bundle in dir; the empty string means the current
// directory. The working directory of the process stays as it is.
//
// An error in the file starts with "config.json: " and the JSON path of the field
// (errors.As with *FieldError) or line:column of a syntax error; a missing file is
// fs.ErrNotExist with runc's text.
func Load(dir string) (*Bundle, error) {
	abs, fd, err := openBundle(dir)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)

	spec, err := readSpec(fd)
	if err != nil {
		return nil, err
	}
	if err := checkRootfs(fd, spec.Root.Path); err != nil {
		return nil, fmt.Errorf("%s: %w", SpecFile, &FieldError{"root.path", err})
	}
	return &Bundle{Dir: abs, Spec: spec}, nil
}

// openBundle opens a bundle's directory for looking up names (O_PATH); abs is its
// absolute path, and the caller closes fd.
func openBundle(dir string) (abs string, fd int, err error) {
	if abs, err = absDir(dir); err != nil {
		return "", -1, fmt.Errorf("bundle: %w", err)
	}
	fd, err = unix.Open(abs, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", -1, fmt.Errorf("bundle: %w", &fs.PathError{Op: "open", Path: abs, Err: err})
	}
	return abs, fd, nil
}

// absDir makes dir absolute. filepath.Abs alone would delete "link/.." as text,
// where chdir (what runc does with --bundle) goes to the parent of the link's target.
func absDir(dir string) (string, error) {
	if strings.Contains(dir, "..") {
		real, err := filepath.EvalSymlinks(dir)
		if err != nil {
			return "", err
		}
		dir = real
	}
	return filepath.Abs(dir)
}

// readSpec parses config.json in the directory dirfd. A symbolic link is followed,
// as runc does: the bundle's directory belongs to the caller. Anything that is not
// a regular file is refused, and O_NONBLOCK keeps the open of a fifo from waiting
// for its writer.
func readSpec(dirfd int) (*specs.Spec, error) {
	fd, err := openat(dirfd, SpecFile, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if errors.Is(err, unix.ENOENT) {
		return nil, specMissingError{}
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: SpecFile, Err: err}
	}
	defer unix.Close(fd)

	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, &fs.PathError{Op: "stat", Path: SpecFile, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("%s: not a regular file but %s", SpecFile, fileType(st.Mode))
	}
	if st.Size > MaxSpecSize {
		return nil, fmt.Errorf("%s: %w", SpecFile, ErrSpecTooLarge)
	}
	spec, err := ParseSpec(fdReader(fd))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", SpecFile, err)
	}
	return spec, nil
}

// fdReader reads a descriptor without an os.File, which would first ask the
// runtime's poller whether it can wait for it.
type fdReader int

func (r fdReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		n, err := unix.Read(int(r), p)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return 0, os.NewSyscallError("read", err)
		case n == 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

// ParseSpec reads one JSON document of at most MaxSpecSize bytes, and validates it
// as Validate does. Like runc it ignores unknown fields and what follows the
// document.
func ParseSpec(r io.Reader) (*specs.Spec, error) {
	var spec *specs.Spec
	if err := decode(r, &spec); err != nil {
		return nil, err
	}
	if spec == nil {
		return nil, errors.New("config cannot be null")
	}
	if err := Validate(spec); err != nil {
		return nil, err
	}
	return spec, nil
}

// decode reads one JSON document of at most MaxSpecSize bytes into v.
func decode(r io.Reader, v any) error {
	data, err := io.ReadAll(io.LimitReader(r, MaxSpecSize+1))
	if err != nil {
		return err
	}
	if len(data) > MaxSpecSize {
		return ErrSpecTooLarge
	}
	// A Decoder and not Unmarshal: Unmarshal refuses bytes after the document,
	// and runc takes such files.
	if err := json.NewDecoder(bytes.NewReader(data)).Decode(v); err != nil {
		return locate(data, err)
	}
	return nil
}

// checkRootfs opens root.path as libcontainer would find it from the bundle, to
// name the JSON field before libcontainer names only the path.
func checkRootfs(bundlefd int, path string) error {
	fd, err := openat(bundlefd, filepath.Clean(path), unix.O_PATH)
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return fmt.Errorf("%s is not a directory but %s", path, fileType(st.Mode))
	}
	return nil
}

// fileType names the type in an inode's mode, with its article.
func fileType(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return "a regular file"
	case unix.S_IFDIR:
		return "a directory"
	case unix.S_IFIFO:
		return "a fifo"
	case unix.S_IFSOCK:
		return "a socket"
	case unix.S_IFCHR:
		return "a character device"
	case unix.S_IFBLK:
		return "a block device"
	case unix.S_IFLNK:
		return "a symbolic link"
	}
	return "a file of unknown type"
}
