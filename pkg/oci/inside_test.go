package oci

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// inside looks at the bundle's rootfs as at the root of a running container.
func inside(t testing.TB, b *Bundle) *Inside {
	t.Helper()
	fd, err := unix.Open(filepath.Join(b.Dir, "rootfs"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	root := os.NewFile(uintptr(fd), "root")
	t.Cleanup(func() { root.Close() })
	return &Inside{Root: root, Spec: b.Spec}
}

func TestDetectIn(t *testing.T) {
	rootfs := []string{
		"app.wasm=@wasm", "comp=@component", "bin/sh*=@elf", "bin/mod=@wasm", "up->../../app.wasm", "half=\x00asm\x01",
		"outside->/../../../../etc/passwd", "magic->/proc/self/root", "work/rel.wasm=@wasm",
	}
	for _, row := range []struct {
		name, arg, cwd, path string
		notes                map[string]string
		kind                 Kind
		engine, found, why   string
		is                   error
	}{
		{name: "module", arg: "/app.wasm", kind: Module, found: "/app.wasm", why: "magic bytes of /app.wasm"},
		{name: "component", arg: "/comp", kind: Component, found: "/comp"},
		{name: "program", arg: "sh", found: "/bin/sh", why: "/bin/sh is an ELF program"},
		{name: "module in PATH", arg: "mod", kind: Module, found: "/bin/mod"},
		{name: "link above the root", arg: "/up", kind: Module, found: "/app.wasm"},
		{name: "link out of the root", arg: "/outside", why: "entrypoint: stat /outside: no such file or directory"},
		{name: "magic link", arg: "/magic/app.wasm", why: "no such file or directory"},
		{name: "relative to cwd", arg: "./rel.wasm", cwd: "/work", kind: Module, found: "/work/rel.wasm"},
		{name: "bare name in cwd", arg: "rel.wasm", cwd: "/work", kind: Module, found: "/work/rel.wasm"},
		// An annotation of the container insists on nothing here.
		{name: "handler", arg: "sh", notes: map[string]string{AnnotationHandler: HandlerWasmtime}, engine: EngineWasmtime, found: "/bin/sh"},
		{name: "engine", arg: "/app.wasm", notes: map[string]string{AnnotationEngine: EngineWazero}, kind: Module, engine: EngineWazero, found: "/app.wasm"},
		{name: "pod sandbox", arg: "/app.wasm", notes: map[string]string{AnnotationCRIOType: ContainerTypeSandbox, AnnotationHandler: "?"}, kind: Module, found: "/app.wasm"},
		{name: "unknown handler", arg: "sh", notes: map[string]string{AnnotationHandler: "?"}, is: ErrUnknownHandler},
		{name: "version", arg: "/half", is: ErrModuleVersion},
		{name: "not found", arg: "nosuch", why: `the container's image has no program "nosuch" in PATH=/usr/bin:/bin`},
		{name: "no PATH directories", arg: "sh", path: "PATH=/sbin:/nosuch", why: "has no programs: none of the directories of PATH=/sbin:/nosuch exists in it"},
		{name: "relative PATH directory", arg: "nosuch", path: "PATH=work", why: `no program "nosuch"`},
		{name: "no PATH", arg: "sh", path: "HOME=/", why: "no PATH to find it in"},
	} {
		t.Run(row.name, func(t *testing.T) {
			b := newBundle(t, []string{row.arg}, rootfs...)
			b.Spec.Annotations = row.notes
			if row.cwd != "" {
				b.Spec.Process.Cwd = row.cwd
			}
			if row.path != "" {
				b.Spec.Process.Env = []string{row.path}
			}
			in := inside(t, b)
			before := openFiles(t)
			w, err := DetectIn(in)
			if row.is != nil {
				if w != nil || !errors.Is(err, row.is) {
					t.Errorf("%+v, error %v, want %v", w, err, row.is)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if w.Module != nil {
				w.Module.Close()
			}
			if w.Kind != row.kind || w.Path != row.found || w.Engine != row.engine || !strings.Contains(w.Why, row.why) || (w.Module != nil) != (w.Kind != Native) {
				t.Errorf("%+v", w)
			}
			if after := openFiles(t); after != before {
				t.Errorf("%d descriptors before, %d after", before, after)
			}
		})
	}
}

func TestCheckPreopensIn(t *testing.T) {
	b := newBundle(t, []string{"/app.wasm"}, "data/", "file=x")
	in := inside(t, b)
	if err := CheckPreopensIn(in, []Preopen{{Name: "/absent", Path: "/absent"}}); err != nil {
		t.Errorf("without the annotation: %v", err)
	}
	b.Spec.Annotations = map[string]string{AnnotationPreopens: "/data"}
	for path, want := range map[string]string{"/data": "", "/": "", "/absent": "no such file or directory", "/file": "not a directory"} {
		err := CheckPreopensIn(in, []Preopen{{Name: path, Path: path}})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error is %v, want %q", path, err, want)
		}
	}
}

// FuzzDetectIn: whatever lies in a running container, a module that is opened lies
// below its root, and nothing hangs or leaks a descriptor.
func FuzzDetectIn(f *testing.F) {
	for _, s := range []string{
		"", "\x01\x00\x00\x00\x00", "\x00\x03\x00\x01\x00\x01\x00\x00\x00", "\x00\x03\x00\x00\x02\x00\x00", strings.Repeat("\x02\x03\x05\x01", 20),
	} {
		f.Add([]byte(s), "")
		f.Add([]byte(s), "a#b")
	}
	f.Fuzz(func(t *testing.T, data []byte, arg string) {
		dir := hostDir(t)
		c := choices(data)
		b := hostileBundle(t, dir, &c)
		b.Spec.Mounts = nil
		b.Spec.Process.Env = []string{"PATH=/a:b:../c:" + dir + "/secret"}
		if arg != "" {
			b.Spec.Process.Args = []string{arg}
		}
		if ValidateProcess(b.Spec.Process) != nil {
			return
		}
		in := inside(t, b)
		before, start := openFiles(t), time.Now()
		w, err := DetectIn(in)
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("took %v", took)
		}
		if err == nil && w.Module != nil {
			checkInside(t, b, w)
			w.Module.Close()
		}
		if after := openFiles(t); after != before {
			t.Errorf("%d descriptors before, %d after", before, after)
		}
	})
}
