package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// LoadProcess returns the process of the config.json in a bundle directory. Unlike
// Load it does not look at the root filesystem, which a running container may be
// the only one to still have mounted.
func LoadProcess(dir string) (*specs.Process, error) {
	abs, err := absDir(dir)
	if err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	fd, err := unix.Open(abs, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("bundle: %w", &fs.PathError{Op: "open", Path: abs, Err: err})
	}
	defer unix.Close(fd)
	spec, err := readSpec(fd)
	if err != nil {
		return nil, err
	}
	return spec.Process, nil
}

// ParseProcess reads one JSON document of at most MaxSpecSize bytes, the value of
// process in a config.json, and validates it as ValidateProcess does. It takes
// what ParseSpec takes.
func ParseProcess(r io.Reader) (*specs.Process, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxSpecSize+1))
	if err != nil {
		return nil, err
	}
	if len(data) > MaxSpecSize {
		return nil, ErrSpecTooLarge
	}
	var p *specs.Process
	if err := json.NewDecoder(bytes.NewReader(data)).Decode(&p); err != nil {
		return nil, locate(data, err)
	}
	if err := ValidateProcess(p); err != nil {
		return nil, relative(err)
	}
	return p, nil
}

// ValidateProcess makes the checks of Validate that are about a process. Every
// error is a *FieldError whose field starts with "process".
func ValidateProcess(p *specs.Process) error {
	spec := &specs.Spec{Process: p}
	for _, check := range []func(*specs.Spec) *FieldError{checkProcess, checkEnv, checkRlimits} {
		if err := check(spec); err != nil {
			return err
		}
	}
	return nil
}

// relative names the field by its path in a file that holds only the process.
func relative(err error) error {
	var field *FieldError
	if !errors.As(err, &field) {
		return err
	}
	name, ok := strings.CutPrefix(field.Field, "process.")
	if !ok {
		return field.Err // the whole file
	}
	return &FieldError{name, field.Err}
}
