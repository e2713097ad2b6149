package integration

import (
	"bufio"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/runw/runw/integration/guests"
)

const module = "github.com/runw/runw"

// goPackage is what the rules need of `go list`.
type goPackage struct {
	ImportPath, Dir, Name              string
	Imports, TestImports, XTestImports []string
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	needRunw(t)
	root, err := guests.Root()
	must(t, err)
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,Name,Imports,TestImports,XTestImports", "-tags", "seccomp", "./...")
	cmd.Dir, cmd.Stderr = root, os.Stderr
	out, err := cmd.Output()
	must(t, err)
	var list []goPackage
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	if len(list) < 5 {
		t.Fatalf("go list found %d packages", len(list))
	}
	return list
}

func (p goPackage) is(parts ...string) bool {
	for _, part := range parts {
		if path := module + "/" + part; p.ImportPath == path || strings.HasPrefix(p.ImportPath, path+"/") {
			return true
		}
	}
	return false
}

// TestImports keeps the rooms apart: a rule forbids a package to those for which `to` holds.
func TestImports(t *testing.T) {
	rules := []struct {
		forbidden string // an import path, or the beginning of some
		to        func(goPackage) bool
		why       string
	}{
		{"github.com/opencontainers/runc", func(p goPackage) bool { return !p.is("pkg/sandbox") }, "pkg/sandbox alone knows libcontainer"},
		{"github.com/opencontainers/cgroups", func(p goPackage) bool { return !p.is("pkg/sandbox") }, "pkg/sandbox alone touches cgroups"},
		{"github.com/tetratelabs/wazero", func(p goPackage) bool { return !p.is("pkg/aot") }, "pkg/aot alone knows the engines"},
		{module + "/", func(p goPackage) bool { return p.is("pkg/oci", "pkg/accel") }, "they stand alone"},
		{module + "/pkg/aot", func(p goPackage) bool { return p.is("pkg/sandbox", "pkg/hostfuncs") }, "cmd/runw composes"},
		{module + "/pkg/hostfuncs", func(p goPackage) bool { return p.is("pkg/sandbox") }, "cmd/runw composes"},
		{module + "/pkg/sandbox", func(p goPackage) bool { return p.is("pkg/aot", "pkg/hostfuncs") }, "engine and host functions run in any process"},
		{module + "/cmd", func(goPackage) bool { return true }, "a command is nobody's library"},
		{module + "/pkg", func(p goPackage) bool { return p.is("integration") }, "the black box stays black"},
		{module + "/integration", func(p goPackage) bool { return !p.is("integration") }, "tests are nobody's library"},
	}
	for _, p := range packages(t) {
		for _, path := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			for _, rule := range rules {
				name := strings.TrimSuffix(rule.forbidden, "/")
				if path != name && !strings.HasPrefix(path, name+"/") || !rule.to(p) {
					continue
				}
				if room(path) == room(p.ImportPath) {
					continue
				}
				t.Errorf("%s imports %s: %s", p.ImportPath, path, rule.why)
			}
		}
	}
}

// room is the first two elements of a path in this module, such as pkg/accel.
func room(path string) string {
	parts := strings.SplitN(strings.TrimPrefix(path, module+"/"), "/", 3)
	return strings.Join(parts[:min(len(parts), 2)], "/")
}

// pkg/oci is to be read, and fuzzed, without the rest of the world.
func TestOCIImports(t *testing.T) {
	allowed := []string{"github.com/opencontainers/runtime-spec/", "github.com/cyphar/filepath-securejoin", "golang.org/x/sys/unix"}
	for _, p := range packages(t) {
		if !p.is("pkg/oci") {
			continue
		}
		for _, path := range p.Imports {
			standard := !strings.Contains(strings.SplitN(path, "/", 2)[0], ".")
			if !standard && !slices.ContainsFunc(allowed, func(a string) bool { return strings.HasPrefix(path, a) }) {
				t.Errorf("%s imports %s", p.ImportPath, path)
			}
		}
	}
}

// purego makes a program dynamic, and a dynamic runw cannot start in an empty
// root filesystem.
func TestStaticImports(t *testing.T) {
	needRunw(t)
	root, err := guests.Root()
	must(t, err)
	cmd := exec.Command("go", "list", "-deps", "-tags", "seccomp wasmtime", "./cmd/runw")
	cmd.Dir, cmd.Stderr = root, os.Stderr
	out, err := cmd.Output()
	must(t, err)
	list := strings.Fields(string(out))
	if !slices.Contains(list, module+"/pkg/sandbox") {
		t.Fatalf("go list knows %d packages of cmd/runw, and not pkg/sandbox", len(list))
	}
	for _, path := range list {
		for _, forbidden := range []string{"github.com/ebitengine/purego", module + "/pkg/accel/ggml", module + "/pkg/accel/onnx", module + "/pkg/accel/acceltest"} {
			if path == forbidden || strings.HasPrefix(path, forbidden+"/") {
				t.Errorf("cmd/runw imports %s, directly or not", path)
			}
		}
	}
}

// Each package says what it is for, and the rooms why they are as they are.
func TestDocumentation(t *testing.T) {
	for _, p := range packages(t) {
		if p.is("integration") && p.Name == "main" {
			continue // the guests, the demo, the benchmark: one file each
		}
		docs := 0
		files, err := filepath.Glob(filepath.Join(p.Dir, "*.go"))
		must(t, err)
		for _, path := range files {
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.PackageClauseOnly|parser.ParseComments)
			must(t, err)
			if file.Doc == nil || strings.HasSuffix(path, "_test.go") {
				continue
			}
			docs++
			if !p.is("integration") && filepath.Base(path) != "doc.go" && len(files) > 1 {
				t.Errorf("%s: the package's comment belongs into doc.go", path)
			}
		}
		if docs != 1 {
			t.Errorf("%s has %d package comments, want one", p.ImportPath, docs)
		}
		parent := filepath.Base(filepath.Dir(p.Dir))
		if _, err := os.Stat(filepath.Join(p.Dir, "RATIONALE.md")); err != nil && (parent == "pkg" || parent == "cmd") {
			t.Errorf("%s: %v", p.ImportPath, err)
		}
		for _, word := range []string{"util", "utils", "common", "helper", "helpers", "misc"} {
			if p.Name == word {
				t.Errorf("%s: say what it is", p.ImportPath)
			}
		}
	}
}

// The root holds these, and nothing that grows there unseen.
func TestTopLevel(t *testing.T) {
	root, err := guests.Root()
	must(t, err)
	allowed := []string{
		"cmd", "pkg", "integration", "go.mod", "go.sum", "Makefile", "LICENSE", "README.md",
		".ci", ".git", ".gitignore", ".golangci.yml", "bin", "build", "examples", "docs",
	}
	entries, err := os.ReadDir(root)
	must(t, err)
	for _, entry := range entries {
		if !slices.Contains(allowed, entry.Name()) {
			t.Errorf("%s at the top level", entry.Name())
		}
	}
}

// source is one of the repository's Go files.
type source struct {
	path string // relative to the root
	set  *token.FileSet
	ast  *ast.File
	text string
}

func (s source) test() bool { return strings.HasSuffix(s.path, "_test.go") }

// files visits the repository's files whose names match, without what was built.
func files(t *testing.T, match func(name string) bool, visit func(path, text string)) {
	t.Helper()
	needRunw(t)
	root, err := guests.Root()
	must(t, err)
	must(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, _ := filepath.Rel(root, path)
		switch {
		case entry.IsDir() && slices.Contains([]string{".git", "bin", "build"}, relative):
			return filepath.SkipDir
		case entry.Type().IsRegular() && match(entry.Name()):
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			visit(relative, string(content))
		}
		return nil
	}))
}

func sources(t *testing.T) []source {
	t.Helper()
	var list []source
	files(t, func(name string) bool { return strings.HasSuffix(name, ".go") }, func(path, text string) {
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, text, parser.ParseComments)
		must(t, err)
		list = append(list, source{path, set, file, text})
	})
	return list
}

// Files and functions stay as long as one can hold in mind.
func TestSizes(t *testing.T) {
	const fileLines, functionLines = 500, 90
	for _, s := range sources(t) {
		if ast.IsGenerated(s.ast) {
			continue
		}
		if lines := strings.Count(s.text, "\n"); lines > fileLines {
			t.Errorf("%s has %d lines, want at most %d", s.path, lines, fileLines)
		}
		for _, decl := range s.ast.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || f.Body == nil || s.test() || isTable(f) {
				continue
			}
			if lines := s.set.Position(f.End()).Line - s.set.Position(f.Pos()).Line + 1; lines > functionLines {
				t.Errorf("%s: %s has %d lines, want at most %d", s.path, f.Name.Name, lines, functionLines)
			}
		}
	}
}

// isTable tells a function that is one switch, with nothing around it but a return.
func isTable(f *ast.FuncDecl) bool {
	list := f.Body.List
	if n := len(list); n == 2 {
		if _, ok := list[1].(*ast.ReturnStmt); ok {
			list = list[:1]
		}
	}
	if len(list) != 1 {
		return false
	}
	_, ok := list[0].(*ast.SwitchStmt)
	return ok
}

func TestUnsafe(t *testing.T) {
	for _, s := range sources(t) {
		for _, spec := range s.ast.Imports {
			if spec.Path.Value == `"unsafe"` && !strings.HasSuffix(s.path, "_unsafe.go") && !strings.HasSuffix(s.path, "_unsafe_test.go") {
				t.Errorf("%s imports unsafe and is not named *_unsafe.go", s.path)
			}
		}
	}
}

// Promises are kept elsewhere than in comments, and no init runs in each re-exec.
func TestSource(t *testing.T) {
	promise := regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b`)
	for _, s := range sources(t) {
		if found := promise.FindString(s.text); found != "" {
			t.Errorf("%s has a %s", s.path, found)
		}
		for _, decl := range s.ast.Decls {
			// The one exception is the re-exec switch.
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" && s.path != "cmd/runw/init_linux.go" {
				t.Errorf("%s has an init", s.path)
			}
		}
	}
}

// Where packages and images come from is each user's configuration.
func TestNoRegistryHosts(t *testing.T) {
	hosts := regexp.MustCompile(`(?i)\b((docker|ghcr|quay|gcr|crates|pypi|k8s\.gcr|registry\.k8s)\.(io|org)|(proxy|sum)\.golang\.org|[a-z]+\.debian\.org|registry\.npmjs\.org|repo1?\.maven[a-z.]*)\b`)
	// Cargo writes the name of its default registry into each Cargo.lock.
	files(t, func(name string) bool { return name != "Cargo.lock" }, func(path, text string) {
		if path == ".ci/deps" {
			text = strings.ReplaceAll(text, " docker."+"io ", " ") // Debian's package of dockerd
		}
		if found := hosts.FindString(text); found != "" {
			t.Errorf("%s names %s", path, found)
		}
	})
}

// Every fuzz target is one that `make fuzz` runs: its recipe is asked, not read.
func TestFuzzTargets(t *testing.T) {
	needRunw(t)
	root, err := guests.Root()
	must(t, err)
	cmd := exec.Command("make", "-s", "fuzz-list")
	cmd.Dir = root
	out, err := cmd.Output()
	must(t, err)
	listed := map[string]bool{}
	for scanner := bufio.NewScanner(strings.NewReader(string(out))); scanner.Scan(); {
		listed[scanner.Text()] = true
	}
	found := 0
	for _, s := range sources(t) {
		for _, decl := range s.ast.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || f.Recv != nil || !s.test() || !strings.HasPrefix(f.Name.Name, "Fuzz") {
				continue
			}
			found++
			if name := "./" + filepath.Dir(s.path) + " " + f.Name.Name; !listed[name] {
				t.Errorf("make fuzz does not run %s", name)
			}
		}
	}
	if found == 0 || found != len(listed) {
		t.Errorf("%d targets in the source, %d in make fuzz", found, len(listed))
	}
}

// The pure-Go rooms compile for the other processors that people run.
func TestOtherArchitectures(t *testing.T) {
	needRunw(t)
	if testing.Short() {
		t.Skip("compiles for two architectures")
	}
	root, err := guests.Root()
	must(t, err)
	for _, arch := range []string{"arm64", "riscv64"} {
		cmd := exec.Command("go", "build", "./pkg/oci/...", "./pkg/aot/...", "./pkg/hostfuncs/...", "./pkg/accel/wire/...")
		cmd.Dir, cmd.Env = root, append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", arch, err, out)
		}
	}
}
