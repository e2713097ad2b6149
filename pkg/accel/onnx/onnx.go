package onnx

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/runw/runw/pkg/accel"
)

// fileNames are what the library is called, the release's name first.
var fileNames = []string{"libonnxruntime.so.1", "libonnxruntime.so"}

type backend struct {
	lib    *library
	grants accel.Grants
	log    func(line string)
}

// Open loads ONNX Runtime from the first of the directories that has it, as such
// or in a directory onnx. A missing library is an error that names what was
// looked for, where, and the settings; it wraps fs.ErrNotExist.
func Open(o accel.Options) (accel.Backend, error) {
	path, err := find(o.LibraryDirs)
	if err != nil {
		return nil, fmt.Errorf("onnx: %w", err)
	}
	lib, err := openLibrary(path)
	if err != nil {
		return nil, fmt.Errorf("onnx: load %s: %w", path, err)
	}
	b := &backend{lib: lib, grants: o.Grants, log: o.Log}
	if b.log == nil {
		b.log = func(string) {}
	}
	return b, nil
}

func find(dirs []string) (string, error) {
	for _, dir := range dirs {
		for _, below := range []string{".", "onnx"} {
			for _, name := range fileNames {
				path := filepath.Join(dir, below, name)
				if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
					return path, nil
				} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
					return "", err
				}
			}
		}
	}
	where := "no directory is set"
	if len(dirs) > 0 {
		where = "not found in " + strings.Join(dirs, ", ")
	}
	return "", &missingError{strings.Join(fileNames, " or "), where}
}

// missingError is that of a library that is not there.
type missingError struct{ name, where string }

func (e *missingError) Error() string {
	return e.name + ": " + e.where + " (set --accel-lib-dir, RUNW_ACCEL_LIBS or library_dirs in /etc/runw/accel.json)"
}

func (e *missingError) Unwrap() error { return fs.ErrNotExist }

// checkVersion refuses a library that is older than the function table that is
// used, before it is asked for one: it would print a complaint of its own.
func checkVersion(version string) error {
	part := strings.SplitN(version, ".", 3)
	if len(part) >= 2 && part[0] == "1" {
		if minor, err := strconv.Atoi(part[1]); err == nil && minor >= apiVersion {
			return nil
		}
	}
	return fmt.Errorf("version %q of ONNX Runtime; 1.%d or later of 1 is needed", version, apiVersion)
}

func (b *backend) Name() string             { return "onnx" }
func (b *backend) Encoding() accel.Encoding { return accel.EncodingONNX }
func (b *backend) Version() string          { return b.lib.version }

// unsupported is an error that says what wasi-nn, or this backend, does not have.
func unsupported(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, accel.ErrUnsupportedOperation)...)
}

// oneLine makes a line for a log of what a library says in several.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
