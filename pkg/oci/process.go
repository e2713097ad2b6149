package oci

import (
	"errors"
	"io"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// LoadProcess returns the process of the config.json in a bundle directory. Unlike
// Load it does not look at the root filesystem, which a running container may be
// the only one to still have mounted.
func LoadProcess(dir string) (*specs.Process, error) {
	_, fd, err := openBundle(dir)
	if err != nil {
		return nil, err
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
	var p *specs.Process
	if err := decode(r, &p); err != nil {
		return nil, err
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
