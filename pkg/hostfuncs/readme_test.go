package hostfuncs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestReadmeTable reads README's table of preview1: one row for each function
// of the specification, and each test that a row names calls that function.
func TestReadmeTable(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(readme), "\n## WASI preview 1, function by function\n")
	if !ok {
		t.Fatal("README has no section on preview 1")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	row := regexp.MustCompile("(?m)^\\| `([a-z_0-9]+)` \\|(.+)\\|(.+)\\|$")
	test := regexp.MustCompile("`(Test[A-Za-z0-9]+)`")
	tests := readTests(t)
	rows := map[string]bool{}
	for _, cells := range row.FindAllStringSubmatch(section, -1) {
		name := cells[1]
		if _, ok := witx[name]; !ok || rows[name] {
			t.Errorf("README's row %s: no function of preview 1, or the second row of one", name)
		}
		rows[name] = true
		if strings.TrimSpace(cells[2]) == "" {
			t.Errorf("README does not say what %s does", name)
		}
		named := test.FindAllStringSubmatch(cells[3], -1)
		if len(named) == 0 {
			t.Errorf("README names no test of %s", name)
		}
		for _, n := range named {
			switch {
			case tests[n[1]] == nil:
				t.Errorf("README's row %s: there is no %s", name, n[1])
			case !tests.reach(n[1], name, map[string]bool{}):
				t.Errorf("README's row %s: %s does not call it", name, n[1])
			}
		}
	}
	for name := range witx {
		if !rows[name] {
			t.Errorf("README's table lacks %s", name)
		}
	}
}

// TestReadmeSockets reads README's table of WasmEdge's functions in the same way.
func TestReadmeSockets(t *testing.T) {
	rows := testedRows(t, "WasmEdge's sockets, function by function", "(?m)^\\| `([a-z_]+)` \\|.+\\|.+\\|.+\\|(.+)\\|$")
	for _, family := range [...][]function{sockFunctions, wasmedgeFunctions} {
		for i := range family {
			if !rows[family[i].name] {
				t.Errorf("README's table lacks %s", family[i].name)
			}
		}
	}
}

// testedRows reads a section's table, of which row finds the first cell and the
// last: the function, and tests that have to call it.
func testedRows(t *testing.T, title, row string) map[string]bool {
	t.Helper()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(readme), "\n## "+title+"\n")
	if !ok {
		t.Fatalf("README has no section %q", title)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	test := regexp.MustCompile("`(Test[A-Za-z0-9]+)`")
	tests := readTests(t)
	rows := map[string]bool{}
	for _, cells := range regexp.MustCompile(row).FindAllStringSubmatch(section, -1) {
		rows[cells[1]] = true
		named := test.FindAllStringSubmatch(cells[2], -1)
		if len(named) == 0 {
			t.Errorf("README names no test of %s", cells[1])
		}
		for _, n := range named {
			if !tests.reach(n[1], cells[1], map[string]bool{}) {
				t.Errorf("README's row %s: there is no %s that calls it", cells[1], n[1])
			}
		}
	}
	return rows
}

// TestReadmeNN reads README's table of WASI-NN in the same way.
func TestReadmeNN(t *testing.T) {
	rows := testedRows(t, "wasi_ephemeral_nn, function by function", "(?m)^\\| `([a-z_]+)` \\|.+\\|(.+)\\|$")
	if len(rows) != len(nnFunctions) {
		t.Errorf("README's table has %d rows for %d functions", len(rows), len(nnFunctions))
	}
	for i := range nnFunctions {
		if !rows[nnFunctions[i].name] {
			t.Errorf("README's table lacks %s", nnFunctions[i].name)
		}
	}
}

// testFuncs are the functions and methods of this package's tests by name, each
// with the strings and the names in its body.
type testFuncs map[string]*testFunc

type testFunc struct{ strings, names map[string]bool }

func readTests(t *testing.T) testFuncs {
	t.Helper()
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	all := testFuncs{}
	for _, path := range files {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Body != nil {
				all.add(f)
			}
		}
	}
	return all
}

func (all testFuncs) add(f *ast.FuncDecl) {
	found := all[f.Name.Name]
	if found == nil {
		found = &testFunc{strings: map[string]bool{}, names: map[string]bool{}}
		all[f.Name.Name] = found
	}
	ast.Inspect(f.Body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BasicLit:
			if s, err := strconv.Unquote(n.Value); err == nil && n.Kind == token.STRING {
				found.strings[s] = true
			}
		case *ast.Ident:
			found.names[n.Name] = true
		}
		return true
	})
}

// reach says whether the named function, or one it uses, has the string want.
func (all testFuncs) reach(name, want string, seen map[string]bool) bool {
	f := all[name]
	if f == nil || seen[name] {
		return false
	}
	seen[name] = true
	if f.strings[want] {
		return true
	}
	for used := range f.names {
		if all.reach(used, want, seen) {
			return true
		}
	}
	return false
}
