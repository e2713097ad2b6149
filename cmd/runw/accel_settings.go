package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"golang.org/x/sys/unix"
)

// accelConfigPath holds the host's settings for inference, for clients that
// call runw without options and with an empty environment.
const accelConfigPath = "/etc/runw/accel.json"

// accelProgram is the helper's name, beside runw unless it is told otherwise.
const accelProgram = "runw-accel"

// accelSettings is where the helper and its libraries are.
type accelSettings struct {
	LibraryDirs []string `json:"library_dirs"`
	SoftwareGPU bool     `json:"software_gpu"`
	Helper      string   `json:"helper"`
}

// defaultLibraryDirs are searched when nobody names any.
func defaultLibraryDirs() []string { return []string{"/usr/local/lib/runw", "/usr/lib/runw"} }

// accelSettingsOf joins the options, which come first, and the file. What it
// names is checked: libraries run with the rights of every container that
// computes, so nobody but root, or the caller, may be able to change them.
func accelSettingsOf(opts *options) (*accelSettings, error) {
	s, err := readAccelConfig(accelConfigPath)
	if err != nil {
		return nil, err
	}
	if opts.accelHelper != "" {
		s.Helper = opts.accelHelper
	}
	if s.Helper == "" {
		exe, err := os.Executable()
		if err != nil {
			return nil, err
		}
		s.Helper = filepath.Join(filepath.Dir(exe), accelProgram)
	}
	if len(opts.accelLibDirs) > 0 {
		s.LibraryDirs = opts.accelLibDirs
	}
	if _, err := os.Stat(s.Helper); err != nil {
		return nil, fmt.Errorf("helper for inference: %w (--accel-helper, RUNW_ACCEL_HELPER, or helper in %s)", err, accelConfigPath)
	}
	if err := checkOwned(s.Helper); err != nil {
		return nil, fmt.Errorf("helper for inference: %w", err)
	}
	for _, dir := range s.LibraryDirs {
		// One that is missing is told with the library that is not found.
		if err := checkOwned(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("library directory: %w", err)
		}
	}
	return s, nil
}

// readAccelConfig reads the file, which need not be there.
func readAccelConfig(path string) (*accelSettings, error) {
	s := &accelSettings{}
	const most = 64 << 10
	f, err := os.Open(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		defer f.Close()
		if err := checkOwned(path); err != nil {
			return nil, err
		}
		content, err := io.ReadAll(io.LimitReader(f, most))
		if err != nil {
			return nil, err
		}
		d := json.NewDecoder(bytes.NewReader(content))
		d.DisallowUnknownFields()
		if err := d.Decode(s); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	for _, p := range append(s.LibraryDirs, s.Helper) {
		if p != "" && !filepath.IsAbs(p) {
			return nil, fmt.Errorf("%s: %q is not an absolute path", path, p)
		}
	}
	if len(s.LibraryDirs) == 0 {
		s.LibraryDirs = defaultLibraryDirs()
	}
	return s, nil
}

// errUnsafe is about a path that somebody else could change.
var errUnsafe = errors.New("refused, others than root could change it")

// checkOwned fails unless root or the caller alone can say what the path names.
func checkOwned(path string) error {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	for at := real; ; at = filepath.Dir(at) {
		var st unix.Stat_t
		if err := unix.Lstat(at, &st); err != nil {
			return &os.PathError{Op: "stat", Path: at, Err: err}
		}
		if !ownedWell(&st, at != real) {
			return fmt.Errorf("%s: %w (owner %d, mode %04o of %s)", path, errUnsafe, st.Uid, st.Mode&0o7777, at)
		}
		if at == "/" {
			return nil
		}
	}
}

// ownedWell: a directory above with the sticky bit protects what lies in it.
func ownedWell(st *unix.Stat_t, above bool) bool {
	// Root of the machine, which owns its libraries, has no number in a user
	// namespace but this one (/proc/sys/kernel/overflowuid).
	const overflow = 65534
	owner := st.Uid == 0 || int(st.Uid) == os.Geteuid() || st.Uid == overflow && inUserNamespace()
	private := st.Mode&0o022 == 0 || above && st.Mode&unix.S_ISVTX != 0
	return owner && private
}

// splitPath reads a list of directories as PATH is one.
func splitPath(s string) ([]string, error) {
	var list []string
	for dir := range strings.SplitSeq(s, ":") {
		if dir == "" {
			continue
		}
		abs, err := filepath.Abs(dir)
		if err != nil {
			return nil, err
		}
		list = append(list, abs)
	}
	return list, nil
}

// printable keeps what a driver says away from a terminal's controls.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, s)
}
