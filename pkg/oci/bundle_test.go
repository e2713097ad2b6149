package oci

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Contents by name, for plant.
var contents = strings.NewReplacer(
	"@wasm", "\x00asm\x01\x00\x00\x00",
	"@component", "\x00asm\x0d\x00\x01\x00",
	"@elf", "\x7fELF\x02\x01\x01",
)

// plant makes a tree below dir. An entry is "dir/", "file=content" (mode 0644),
// "file*=content" (mode 0755), "link->target", or "name|fifo", "name|socket",
// "name|device".
func plant(t testing.TB, dir string, entries ...string) {
	t.Helper()
	for _, e := range entries {
		if err := plantOne(dir, e); err != nil {
			t.Fatalf("plant %q: %v", e, err)
		}
	}
}

func plantOne(dir, entry string) error {
	at := func(name string) (string, error) {
		p := filepath.Join(dir, name)
		return p, os.MkdirAll(filepath.Dir(p), 0o755)
	}
	if name, target, ok := strings.Cut(entry, "->"); ok {
		p, err := at(name)
		if err != nil {
			return err
		}
		return os.Symlink(target, p)
	}
	if name, content, ok := strings.Cut(entry, "="); ok {
		mode := os.FileMode(0o644)
		if cut, exec := strings.CutSuffix(name, "*"); exec {
			name, mode = cut, 0o755
		}
		p, err := at(name)
		if err != nil {
			return err
		}
		return os.WriteFile(p, []byte(contents.Replace(content)), mode)
	}
	if name, kind, ok := strings.Cut(entry, "|"); ok {
		p, err := at(name)
		if err != nil {
			return err
		}
		switch kind {
		case "fifo":
			return unix.Mkfifo(p, 0o755)
		case "device":
			return unix.Mknod(p, unix.S_IFCHR|0o755, int(unix.Mkdev(1, 3)))
		case "socket":
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: p, Net: "unix"})
			if err != nil {
				return err
			}
			l.SetUnlinkOnClose(false)
			return l.Close()
		}
	}
	return os.MkdirAll(filepath.Join(dir, entry), 0o755)
}

// newBundle makes a bundle with the given rootfs whose process is args.
func newBundle(t testing.TB, args []string, rootfs ...string) *Bundle {
	t.Helper()
	// Sockets have short names; t.TempDir of a long subtest name does not fit.
	dir := t.TempDir()
	plant(t, dir, "rootfs/")
	plant(t, filepath.Join(dir, "rootfs"), rootfs...)
	return &Bundle{Dir: dir, Spec: &specs.Spec{
		Version: specs.Version,
		Root:    &specs.Root{Path: "rootfs"},
		Process: &specs.Process{Args: args, Cwd: "/", Env: []string{"PATH=/usr/bin:/bin"}},
	}}
}

// bindMount is a recursive bind mount.
func bindMount(source, dest string) specs.Mount {
	return specs.Mount{Destination: dest, Type: "bind", Source: source, Options: []string{"rbind", "ro"}}
}

// detect runs Detect and closes the module at the end of the test.
func detect(t testing.TB, b *Bundle) (*Workload, error) {
	t.Helper()
	w, err := Detect(b)
	if err != nil {
		if w != nil {
			t.Fatalf("a workload and an error: %+v, %v", w, err)
		}
		return nil, err
	}
	if (w.Module != nil) != (w.Kind != Native) {
		t.Fatalf("kind %v with module %v", w.Kind, w.Module)
	}
	if w.Module != nil {
		t.Cleanup(func() { w.Module.Close() })
	}
	return w, nil
}

// openFiles counts this process's descriptors.
func openFiles(t testing.TB) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
