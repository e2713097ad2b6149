package integration

import (
	"go/ast"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"

	"github.com/runw/runw/integration/guests"
)

// properties lists the JSON names of a type of the specification, with the prefix.
func properties(prefix string, of any) []string {
	kind := reflect.TypeOf(of)
	var names []string
	for i := range kind.NumField() {
		name, _, _ := strings.Cut(kind.Field(i).Tag.Get("json"), ",")
		if name != "-" && name != "" {
			names = append(names, prefix+name)
		}
	}
	return names
}

// TestConformance reads pkg/oci/CONFORMANCE.md: a row for each property of the
// specification, with tests that exist or a reason.
func TestConformance(t *testing.T) {
	needRunw(t)
	root, err := guests.Root()
	must(t, err)
	table, err := os.ReadFile(filepath.Join(root, "pkg", "oci", "CONFORMANCE.md"))
	must(t, err)
	tests := map[string]bool{}
	for _, s := range sources(t) {
		for _, decl := range s.ast.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && s.test() && f.Recv == nil {
				tests[f.Name.Name] = true
			}
		}
	}
	property := regexp.MustCompile("`([a-z][A-Za-z0-9.]+)`")
	test := regexp.MustCompile("`(Test[A-Za-z0-9]+)`")
	rows := map[string]bool{}
	for line := range strings.Lines(string(table)) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 5 || strings.HasPrefix(cells[1], "-") || cells[2] == " " {
			continue // not a row, or a title
		}
		for _, m := range property.FindAllStringSubmatch(cells[1], -1) {
			if rows[m[1]] {
				t.Errorf("two rows for %s", m[1])
			}
			rows[m[1]] = true
		}
		named := test.FindAllStringSubmatch(cells[3], -1)
		for _, m := range named {
			if !tests[m[1]] {
				t.Errorf("%s: there is no %s", strings.TrimSpace(cells[1]), m[1])
			}
		}
		if len(named) == 0 && len(strings.TrimSpace(cells[3])) < 10 {
			t.Errorf("%s: neither a test nor a reason", strings.TrimSpace(cells[1]))
		}
	}
	for _, list := range [][]string{
		properties("", specs.Spec{}), properties("root.", specs.Root{}), properties("mounts.", specs.Mount{}), properties("hooks.", specs.Hooks{}),
		properties("process.", specs.Process{}), properties("process.user.", specs.User{}), properties("linux.", specs.Linux{}),
		properties("linux.resources.", specs.LinuxResources{}), properties("linux.resources.memory.", specs.LinuxMemory{}),
		properties("linux.resources.cpu.", specs.LinuxCPU{}), properties("linux.resources.blockIO.", specs.LinuxBlockIO{}),
		properties("linux.seccomp.", specs.LinuxSeccomp{}), properties("linux.intelRdt.", specs.LinuxIntelRdt{}),
		properties("features.", features.Features{}),
	} {
		for _, name := range list {
			if !rows[name] {
				t.Errorf("no row for %s", name)
			}
			delete(rows, name)
		}
	}
	for name := range rows {
		t.Errorf("the specification has no %s", name)
	}
}
