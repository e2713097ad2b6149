package integration

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/runw/runw/integration/guests"
	"github.com/runw/runw/integration/machine"
)

// rt is the runtime under test; TestMain sets it before any test runs.
var rt *runtimeUnderTest

func TestMain(m *testing.M) {
	flag.Parse()
	if code, done := machine.Reexec(); done {
		os.Exit(code)
	}
	code, err := inside(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "integration:", err)
		code = 1
	}
	os.Exit(code)
}

func inside(m *testing.M) (int, error) {
	tmp, err := os.MkdirTemp("", "runw-test-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(tmp)
	// Rootless containers run below it.
	if err := os.Chmod(tmp, 0o755); err != nil {
		return 0, err
	}
	if rt, err = findRuntime(tmp); err != nil {
		return 0, err
	}
	if os.Geteuid() == 0 {
		undo, err := machine.Prepare(tmp, rt.name == "crun")
		if err != nil {
			return 0, err
		}
		defer undo()
	}
	return m.Run(), nil
}

// findRuntime resolves RUNTIME (a name in PATH or a path) or bin/runw.
func findRuntime(tmp string) (*runtimeUnderTest, error) {
	path := os.Getenv("RUNTIME")
	if path == "" {
		root, err := guests.Root()
		if err != nil {
			return nil, err
		}
		path = filepath.Join(root, "bin", "runw")
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("%w: run `make build`", err)
		}
	}
	path, err := exec.LookPath(path)
	if err != nil {
		return nil, err
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	name, _, _ := strings.Cut(filepath.Base(path), "-")
	return &runtimeUnderTest{path: path, name: name, tmp: tmp}, nil
}
