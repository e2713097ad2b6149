package oci

import (
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Validate refuses what runc refuses before it builds a container, and nothing
// that runc would run: fields that libcontainer checks with the host in view
// (sysctls, seccomp, cgroups, id mappings) are left to it. Every error is a
// *FieldError.
func Validate(spec *specs.Spec) error {
	for _, check := range []func(*specs.Spec) *FieldError{
		checkProcess, checkEnv, checkRlimits, checkRoot, checkMounts, checkNamespaces,
	} {
		if err := check(spec); err != nil {
			return err
		}
	}
	return nil
}

var errNUL = errors.New("contains a NUL byte")

func fault(field, format string, args ...any) *FieldError {
	return &FieldError{field, fmt.Errorf(format, args...)}
}

func hasNUL(s string) bool { return strings.IndexByte(s, 0) >= 0 }

// checkProcess keeps runc's sentences: clients and test suites search for them.
func checkProcess(spec *specs.Spec) *FieldError {
	p := spec.Process
	switch {
	case p == nil:
		return fault("process", "process property must not be empty")
	case p.Cwd == "":
		return fault("process.cwd", "Cwd property must not be empty")
	case p.Cwd[0] != '/':
		return fault("process.cwd", "Cwd must be an absolute path, got %q", p.Cwd)
	case hasNUL(p.Cwd):
		return &FieldError{"process.cwd", errNUL}
	case len(p.Args) == 0:
		return fault("process.args", "args must not be empty")
	}
	for i, a := range p.Args {
		if hasNUL(a) {
			return &FieldError{fmt.Sprintf("process.args[%d]", i), errNUL}
		}
	}
	return nil
}

// checkEnv does what libcontainer does to the environment in the container's init
// process, where it could no longer name the entry: it drops all but the last entry
// of a key before it looks for NUL bytes.
func checkEnv(spec *specs.Spec) *FieldError {
	env := spec.Process.Env
	last := make(map[string]int, len(env))
	for i, kv := range env {
		key, _, ok := strings.Cut(kv, "=")
		switch {
		case !ok:
			return fault(fmt.Sprintf("process.env[%d]", i), "invalid environment variable: missing '=' in %q", kv)
		case key == "":
			return fault(fmt.Sprintf("process.env[%d]", i), "invalid environment variable: name cannot be empty in %q", kv)
		}
		last[key] = i
	}
	for i, kv := range env {
		if key, _, _ := strings.Cut(kv, "="); last[key] == i && hasNUL(kv) {
			return &FieldError{fmt.Sprintf("process.env[%d]", i), fmt.Errorf("invalid environment variable %q: contains nul byte (\\x00)", key)}
		}
	}
	return nil
}

func checkRlimits(spec *specs.Spec) *FieldError {
	for i, r := range spec.Process.Rlimits {
		switch r.Type {
		case "RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_DATA", "RLIMIT_STACK", "RLIMIT_CORE", "RLIMIT_RSS",
			"RLIMIT_NPROC", "RLIMIT_NOFILE", "RLIMIT_MEMLOCK", "RLIMIT_AS", "RLIMIT_LOCKS", "RLIMIT_SIGPENDING",
			"RLIMIT_MSGQUEUE", "RLIMIT_NICE", "RLIMIT_RTPRIO", "RLIMIT_RTTIME":
		default:
			return fault(fmt.Sprintf("process.rlimits[%d].type", i), "wrong rlimit value: %s", r.Type)
		}
	}
	return nil
}

func checkRoot(spec *specs.Spec) *FieldError {
	switch {
	case spec.Root == nil:
		return fault("root", "root must be specified")
	case hasNUL(spec.Root.Path):
		return &FieldError{"root.path", errNUL}
	}
	return nil
}

func checkMounts(spec *specs.Spec) *FieldError {
	for i, m := range spec.Mounts {
		for _, f := range []struct{ name, value string }{
			{"destination", m.Destination}, {"source", m.Source}, {"type", m.Type},
		} {
			if hasNUL(f.value) {
				return &FieldError{fmt.Sprintf("mounts[%d].%s", i, f.name), errNUL}
			}
		}
	}
	return nil
}

func checkNamespaces(spec *specs.Spec) *FieldError {
	if spec.Linux == nil {
		return nil
	}
	for i, ns := range spec.Linux.Namespaces {
		switch ns.Type {
		case specs.PIDNamespace, specs.NetworkNamespace, specs.MountNamespace, specs.IPCNamespace,
			specs.UTSNamespace, specs.UserNamespace, specs.CgroupNamespace, specs.TimeNamespace:
		default:
			return fault(fmt.Sprintf("linux.namespaces[%d].type", i), "namespace %q does not exist", ns.Type)
		}
		for _, earlier := range spec.Linux.Namespaces[:i] {
			if earlier.Type == ns.Type {
				return fault(fmt.Sprintf("linux.namespaces[%d].type", i), "malformed spec file: duplicated ns %q", ns.Type)
			}
		}
	}
	return nil
}
