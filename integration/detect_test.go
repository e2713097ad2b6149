package integration

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What is Wasm, and what is not, seen from the outside.
func TestDetection(t *testing.T) {
	needRunw(t)
	module := func(name string, mode os.FileMode) func(*testing.T, *box) {
		return func(t *testing.T, b *box) {
			must(t, b.Add(build(t, "c/probe"), name, mode))
			b.Spec.Process.Args[0] = name
		}
	}
	with := func(steps ...func(*testing.T, *box)) func(*testing.T, *box) {
		return func(t *testing.T, b *box) {
			for _, step := range steps {
				step(t, b)
			}
		}
	}
	rows := []struct {
		name  string
		setup func(*testing.T, *box)
		wasm  bool
		code  int
	}{
		{"no suffix, no +x", module("app", 0o644), true, 0},
		{"absolute, no +x", module("/srv/app", 0o644), true, 0},
		{"found in PATH", with(module("/usr/bin/app", 0o755), func(_ *testing.T, b *box) { b.Spec.Process.Args[0] = "app" }), true, 0},
		{"through a link", with(module("/srv/app", 0o644), func(t *testing.T, b *box) {
			must(t, os.Symlink("/srv/app", b.Path("link")))
			b.Spec.Process.Args[0] = "/link"
		}), true, 0},
		{"run.oci.handler=wasm", with(module("app", 0o644), annotate("run.oci.handler", "wasm")), true, 0},
		{"run.oci.handler=wazero", with(module("app", 0o644), annotate("run.oci.handler", "wazero")), true, 0},
		{"run.oci.handler=wasmedge", with(module("app", 0o644), annotate("run.oci.handler", "wasmedge")), true, 0},
		{"module.wasm.image/variant=compat", with(module("app", 0o644), annotate("module.wasm.image/variant", "compat")), true, 0},
		{"module.wasm.image/variant=compat-smart", with(module("app.wasm", 0o644), annotate("module.wasm.image/variant", "compat-smart")), true, 0},
		{"smart, and a Linux program", annotate("run.oci.handler", "wasm-smart"), false, 0},
		{"compat-smart, and a Linux program", annotate("module.wasm.image/variant", "compat-smart"), false, 0},
		// The pause container of a pod whose annotations are for its app.
		{"CRI pod sandbox", func(_ *testing.T, b *box) {
			b.Spec.Annotations = map[string]string{"io.kubernetes.cri.container-type": "sandbox", "run.oci.handler": "wasm"}
		}, false, 0},
		{"CRI-O pod sandbox", func(_ *testing.T, b *box) {
			b.Spec.Annotations = map[string]string{"io.kubernetes.cri-o.ContainerType": "sandbox", "module.wasm.image/variant": "compat"}
		}, false, 0},
		// Never Wasm, even where it is: then it is no program that Linux could run.
		{"pod sandbox that holds a module", with(module("app", 0o755), annotate("io.kubernetes.cri.container-type", "sandbox")), false, 1},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			b := newBox(t, "busybox", "echo", "hello from busybox")
			b.Spec.Process.Env = []string{"PATH=/usr/bin:/bin"}
			if row.setup != nil {
				row.setup(t, b)
			}
			if row.wasm {
				b.Spec.Process.Args = b.Spec.Process.Args[:1]
			}
			res := b.run()
			if row.code != 0 {
				if res.code == 0 || strings.Contains(res.stdout, "hello") {
					t.Errorf("ran: %v", res)
				}
				return
			}
			res.ok()
			if row.wasm {
				res.says("hello from C")
			} else {
				res.says("hello from busybox")
			}
		})
	}
}

// newStore makes a directory that nobody else can write, as the store demands.
func newStore(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "aot")
	must(t, os.Mkdir(dir, 0o700))
	return dir
}

// A store that is not its user's alone is not used: whoever writes there chooses the code
// that root's containers run.
func TestStoreOfOthers(t *testing.T) {
	needRunw(t)
	for what, c := range map[string]struct {
		harm func(store string) error
		says string
	}{
		"mode":    {func(s string) error { return os.Chmod(s, 0o777) }, "is writable by others (mode 0777)"},
		"owner":   {func(s string) error { return os.Chown(s, 12345, 12345) }, "belongs to uid 12345"},
		"above":   {func(s string) error { return os.Chmod(filepath.Dir(s), 0o777) }, "is writable by others (mode 0777)"},
		"symlink": {func(s string) error { return errors.Join(os.Rename(s, s+"-real"), os.Symlink(s+"-real", s)) }, "is a symbolic link"},
	} {
		t.Run(what, func(t *testing.T) {
			store := newStore(t)
			must(t, c.harm(store))
			b := newBox(t, "wat/probe")
			b.env = append(b.env, "RUNW_AOT_DIR="+store)
			b.run().ok().says("hello from WAT").warns("native code is not kept", "unsafe artifact store", c.says)
			if entries, err := os.ReadDir(store); err != nil || len(entries) != 0 {
				t.Errorf("used: %v, %v", entries, err)
			}
		})
	}
}

// A disk that is full, or that nobody can write to, costs a compilation and says so; what
// it has is used.
func TestStoreDisk(t *testing.T) {
	needRunw(t)
	disk := newStore(t)
	must(t, unix.Mount("none", disk, "tmpfs", 0, "size=4m,mode=0700"))
	t.Cleanup(func() { must(t, unix.Unmount(disk, unix.MNT_DETACH)) }) // the boxes are closed by then
	store := filepath.Join(disk, "store")
	known := newBox(t, "wat/probe")
	known.env = append(known.env, "RUNW_AOT_DIR="+store, "RUNW_AOT_MAX_SIZE=none")
	known.run().ok()
	other := newBox(t, "c/probe")
	other.env = known.env
	both := func(says string) {
		t.Helper()
		if res := known.run().ok().says("hello from WAT"); res.stderr != "" {
			t.Errorf("what is there is not used: %v", res)
		}
		other.run().ok().says("hello from C").warns("artifact store", says, "keeping native code in memory")
		known.quiet("aot", "verify").ok()
		if list := known.entries(); len(list) != 1 {
			t.Errorf("the store has %+v", list)
		}
	}
	ballast := filepath.Join(disk, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 8<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	both("no space left on device")
	must(t, os.Remove(ballast))
	must(t, unix.Mount("", disk, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	both("read-only file system")
}

// A second start takes the native code of the first.
func TestArtifactIsKept(t *testing.T) {
	needRunw(t)
	store := newStore(t)
	for i, want := range []string{"cached: false", "cached: true"} {
		b := newBox(t, "go/big")
		b.env = append(b.env, "RUNW_AOT_DIR="+store)
		b.global = []string{"--debug"}
		res := b.run().ok().says("GET /ready 200").warns(want)
		t.Logf("start %d: %v", i, res.took)
	}
	entries, err := os.ReadDir(store)
	must(t, err)
	if len(entries) == 0 {
		t.Error("the store is empty")
	}
}

// A store that cannot be used costs a compile, not the start.
func TestStoreUnusable(t *testing.T) {
	needRunw(t)
	b := newBox(t, "wat/probe")
	b.env = append(b.env, "RUNW_AOT_DIR="+b.write("file", "")+"/below")
	b.run().ok().says("hello from WAT")
}

// A damaged artifact is noticed and compiled again.
func TestStoreDamaged(t *testing.T) {
	needRunw(t)
	store := newStore(t)
	for range 3 {
		b := newBox(t, "wat/probe")
		b.env = append(b.env, "RUNW_AOT_DIR="+store)
		b.run().ok().says("hello from WAT")
		damage(t, store)
	}
}

// damage flips bytes in every file of the store.
func damage(t *testing.T, store string) {
	t.Helper()
	must(t, filepath.WalkDir(store, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for i := 0; i < len(content); i += 64 {
			content[i] ^= 0xff
		}
		if err := os.Chmod(path, 0o600); err != nil {
			return err
		}
		return os.WriteFile(path, content, 0o600)
	}))
}
