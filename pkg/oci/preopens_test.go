package oci

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestPreopens(t *testing.T) {
	dot, root := Preopen{Name: ".", Path: "/srv"}, Preopen{Name: "/", Path: "/"}
	const field = `annotations["run.runw.preopens"]: `
	for _, row := range []struct {
		value string // "-": no annotation
		want  []Preopen
		err   string
	}{
		{value: "-", want: []Preopen{dot, root}},
		{value: "none"},
		{value: ".", want: []Preopen{dot}},
		{value: "/", want: []Preopen{root}},
		{value: "/,.", want: []Preopen{dot, root}}, // "." stays first
		{value: "/data,/etc:ro", want: []Preopen{{Name: "/data", Path: "/data"}, {Name: "/etc", Path: "/etc", ReadOnly: true}}},
		{value: "/d=/var/lib/d:ro,.=/tmp", want: []Preopen{{Name: ".", Path: "/tmp"}, {Name: "/d", Path: "/var/lib/d", ReadOnly: true}}},
		{value: ".:ro", want: []Preopen{{Name: ".", Path: "/srv", ReadOnly: true}}},
		{value: "/a:b", want: []Preopen{{Name: "/a:b", Path: "/a:b"}}},
		{value: "/none", want: []Preopen{{Name: "/none", Path: "/none"}}},
		{value: "/a=/b=c", want: []Preopen{{Name: "/a", Path: "/b=c"}}},

		{value: "", err: `empty entry: want GUEST[=PATH][:ro] or "none"`},
		{value: "/a,,/b", err: `empty entry: want GUEST[=PATH][:ro] or "none"`},
		{value: ":ro", err: `empty entry: want GUEST[=PATH][:ro] or "none"`},
		{value: "none,/", err: `"none": "none" is neither "." nor a clean absolute path`},
		{value: "data", err: `"data": "data" is neither "." nor a clean absolute path`},
		{value: "/a/", err: `"/a/": "/a/" is neither "." nor a clean absolute path`},
		{value: "/a/../..", err: `"/a/../..": "/a/../.." is neither "." nor a clean absolute path`},
		{value: "//", err: `"//": "//" is neither "." nor a clean absolute path`},
		{value: "..", err: `"..": ".." is neither "." nor a clean absolute path`},
		{value: " /a", err: `" /a": " /a" is neither "." nor a clean absolute path`},
		{value: "=/a", err: `"=/a": "" is neither "." nor a clean absolute path`},
		{value: "/a=", err: `"/a=": "" is not a clean absolute path`},
		{value: "/a=b", err: `"/a=b": "b" is not a clean absolute path`},
		{value: "/a=/b/", err: `"/a=/b/": "/b/" is not a clean absolute path`},
		{value: "/a=/b:rw:ro:ro", want: []Preopen{{Name: "/a", Path: "/b:rw:ro", ReadOnly: true}}},
		{value: "/a\x00", err: `"/a\x00" contains a NUL byte`},
		{value: "/a,/b,/a=/c", err: "/a is given twice"},
		{value: ".,.:ro", err: ". is given twice"},
	} {
		spec := &specs.Spec{Process: &specs.Process{Cwd: "/srv"}}
		if row.value != "-" {
			spec.Annotations = map[string]string{AnnotationPreopens: row.value}
		}
		got, err := Preopens(spec)
		switch {
		case row.err != "":
			if err == nil || err.Error() != field+row.err || got != nil {
				t.Errorf("%q: got %v, error %v\nwant %s", row.value, got, err, field+row.err)
			}
		case err != nil || !slices.Equal(got, row.want):
			t.Errorf("%q: got %v, %v\nwant %v", row.value, got, err, row.want)
		}
	}
}

func TestPreopensWithoutProcess(t *testing.T) {
	got, err := Preopens(&specs.Spec{})
	if err != nil || !slices.Equal(got, []Preopen{{Name: ".", Path: "/"}, {Name: "/", Path: "/"}}) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestCheckPreopens(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"rootfs/data", "source/sub"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "rootfs/file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/data", filepath.Join(dir, "rootfs/link")); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		value string
		want  error
	}{
		{value: "/data"},
		{value: "/link"},
		{value: "/g=/bind/sub"},
		{value: "/scratch"},          // a mount point still to be made
		{value: "/scratch/anything"}, // nobody can know yet
		{value: "none"},
		{value: "/absent", want: fs.ErrNotExist},
		{value: "/data,/bind/absent", want: fs.ErrNotExist},
		{value: "/file", want: unix.ENOTDIR},
	} {
		b := &Bundle{Dir: dir, Spec: &specs.Spec{
			Root:        &specs.Root{Path: "rootfs"},
			Process:     &specs.Process{Cwd: "/"},
			Annotations: map[string]string{AnnotationPreopens: row.value},
			Mounts: []specs.Mount{
				{Destination: "/bind", Source: "source", Options: []string{"bind"}},
				{Destination: "/scratch", Type: "tmpfs", Source: "tmpfs"},
			},
		}}
		list, err := Preopens(b.Spec)
		if err != nil {
			t.Fatal(err)
		}
		if err := CheckPreopens(b, list); !errors.Is(err, row.want) {
			t.Errorf("%s: error is %v, want %v", row.value, err, row.want)
		}
	}
}
