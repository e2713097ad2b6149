// Package guests builds the Wasm programs that the tests, the benchmark and the demo run.
//
//	guests/c/probe.c        clang --target=wasm32-wasi, and the flags of a first line "// build: ..."
//	guests/go/NAME/         GOOS=wasip1 GOARCH=wasm go build
//	guests/rust/probe.rs    rustc --target wasm32-wasi
//	guests/rust/NAME/       a program with crates: .ci/rust-guest
//	guests/wat/NAME.wat     wat2wasm
//
// A new guest goes into its language's folder; nothing has to be registered.
package guests

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// Root returns the repository's root directory, at or above the working directory. It is
// told by the Makefile, for integration/clients has a go.mod as well.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "Makefile")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("no Makefile at or above the working directory")
		}
	}
}

// ReadyEnv names a directory in which the guests are already, as LANGUAGE-NAME.wasm: the
// machine of `make vm` has no compilers.
const ReadyEnv = "RUNW_TEST_GUESTS"

// Build compiles the guest LANGUAGE/NAME, such as "c/probe", and returns the module's path.
// Modules are kept in build/guests under a digest of source, command and compiler.
func Build(name string) (string, error) {
	lang, base, ok := strings.Cut(name, "/")
	if !ok {
		return "", fmt.Errorf("guest %q: want LANGUAGE/NAME", name)
	}
	if dir := os.Getenv(ReadyEnv); dir != "" {
		ready := filepath.Join(dir, lang+"-"+base+".wasm")
		_, err := os.Stat(ready)
		return ready, err
	}
	root, err := Root()
	if err != nil {
		return "", err
	}
	source := filepath.Join(root, "integration", "guests", lang, base)
	var cmd *exec.Cmd
	switch lang {
	case "c":
		source += ".c"
		flags, err := buildFlags(source)
		if err != nil {
			return "", fmt.Errorf("guest %s: %w", name, err)
		}
		cmd = exec.Command("clang", append(append([]string{"--target=wasm32-wasi", "-O2", "-Wall", "-Werror"}, flags...), source)...)
	case "go":
		cmd = exec.Command("go", "build", "-trimpath", "-ldflags=-s -w")
		cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=")
	case "rust":
		if _, err := os.Stat(source); err == nil {
			cmd = exec.Command(filepath.Join(root, ".ci", "rust-guest"), source)
			break
		}
		source += ".rs"
		cmd = exec.Command(rustc(), "--target", "wasm32-wasi", "-O", source)
	case "wat":
		source += ".wat"
		cmd = exec.Command("wat2wasm", source)
	default:
		return "", fmt.Errorf("guest %q: no such language", name)
	}
	return kept(cmd, root, source, lang+"-"+base, ".wasm")
}

// BuildNative compiles the C guest NAME as a program of this machine, to compare the module
// with.
func BuildNative(name string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	source := filepath.Join(root, "integration", "guests", "c", name+".c")
	cmd := exec.Command("clang", "-O2", "-Wall", "-Werror", "-D_GNU_SOURCE", "-static", source)
	return kept(cmd, root, source, "native-"+name, "")
}

// kept compiles unless that was done before.
func kept(cmd *exec.Cmd, root, source, name, suffix string) (string, error) {
	digest, err := fingerprint(cmd, source)
	if err != nil {
		return "", fmt.Errorf("guest %s: %w", name, err)
	}
	dir := filepath.Join(root, "build", "guests")
	out := filepath.Join(dir, fmt.Sprintf("%s-%.12x%s", name, digest, suffix))
	if _, err := os.Stat(out); err == nil {
		return out, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	mode := os.FileMode(0o755)
	if suffix == ".wasm" {
		// Compilers set +x; a module needs none, and the tests shall prove it.
		mode = 0o644
	}
	return out, compile(cmd, source, out, mode)
}

// buildFlags reads what a C source asks for in its first line.
func buildFlags(source string) ([]string, error) {
	content, err := os.ReadFile(source)
	if err != nil {
		return nil, err
	}
	line, _, _ := strings.Cut(string(content), "\n")
	flags, _ := strings.CutPrefix(line, "// build: ")
	if flags == line {
		return nil, nil
	}
	return strings.Fields(flags), nil
}

// compile publishes by rename: packages under test may build the same guest at once.
func compile(cmd *exec.Cmd, source, out string, mode os.FileMode) error {
	tmp, err := os.MkdirTemp(filepath.Dir(out), "new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	fresh := filepath.Join(tmp, "guest.wasm")
	cmd.Args = append(cmd.Args, "-o", fresh)
	if cmd.Args[0] == "go" {
		cmd.Args = append(cmd.Args, ".")
		cmd.Dir = source
	}
	if msg, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, msg)
	}
	if err := os.Chmod(fresh, mode); err != nil {
		return err
	}
	return os.Rename(fresh, out)
}

func fingerprint(cmd *exec.Cmd, source string) ([]byte, error) {
	sum := sha256.New()
	compiler, err := os.Stat(cmd.Path)
	if err != nil {
		return nil, err
	}
	fmt.Fprintln(sum, cmd.Args[:len(cmd.Args)-1], compiler.Size(), compiler.ModTime(), runtime.Version())
	headers, err := filepath.Glob(filepath.Join(filepath.Dir(source), "*.h"))
	if err != nil {
		return nil, err
	}
	for _, path := range headers {
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		sum.Write(content)
	}
	err = filepath.WalkDir(source, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		sum.Write(content)
		return err
	})
	return sum.Sum(nil), err
}

// rustc prefers Debian's: wasm32-wasi has left newer compilers, and one from elsewhere
// in PATH need not have the target's library.
func rustc() string {
	if _, err := os.Stat("/usr/bin/rustc"); err == nil {
		return "/usr/bin/rustc"
	}
	return "rustc"
}
