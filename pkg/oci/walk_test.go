package oci

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// TestDetectPaths resolves entrypoints in real trees. HOST in an entry or a mount
// source stands for the directory of the test, which the container must not see
// except through a bind mount.
func TestDetectPaths(t *testing.T) {
	host := []string{"secret.wasm=@wasm", "src/app.wasm=@wasm", "src/sub/x->/app.wasm", "src/up->../../in.wasm", "dir.wasm=@wasm"}
	tmpfs := func(dest string) specs.Mount { return specs.Mount{Destination: dest, Type: "tmpfs", Source: "tmpfs"} }
	copyUp := specs.Mount{Destination: "/a", Type: "tmpfs", Source: "tmpfs", Options: []string{"tmpcopyup"}}
	for _, row := range []struct {
		name   string
		arg    string
		cwd    string
		tree   []string
		mounts []specs.Mount
		masked []string
		path   string // "": not found
		from   string // host path below HOST, "": rootfs + path
	}{
		{name: "absolute", arg: "/app.wasm", tree: []string{"app.wasm=@wasm"}, path: "/app.wasm"},
		{name: "no suffix", arg: "/app", tree: []string{"app=@wasm"}, path: "/app"},
		{name: "relative", arg: "./app", cwd: "/srv", tree: []string{"srv/app=@wasm"}, path: "/srv/app"},
		{name: "relative, parent", arg: "../app", cwd: "/srv/x", tree: []string{"srv/x/", "srv/app=@wasm"}, path: "/srv/app"},
		{name: "relative, cwd to be made", arg: "../bin/app", cwd: "/new", tree: []string{"bin/app=@wasm"}, path: "/bin/app"},
		{name: "relative, cwd is a link", arg: "../app", cwd: "/l", tree: []string{"l->/srv/x", "srv/x/", "srv/app=@wasm"}, path: "/srv/app"},
		{name: "dots", arg: "//./srv/.//../app", tree: []string{"srv/", "app=@wasm"}, path: "/app"},
		{name: "dot dot of a link is its target's parent", arg: "/l/../app", tree: []string{"l->srv/x", "srv/x/", "srv/app=@wasm", "app=@elf"}, path: "/srv/app"},
		{name: "dot dot stops at the root", arg: "/../../../../app", tree: []string{"app=@wasm"}, path: "/app"},
		{name: "link", arg: "/l", tree: []string{"l->a/m", "a/m->../app", "app=@wasm"}, path: "/app"},
		{name: "absolute link", arg: "/l", tree: []string{"l->/app", "app=@wasm"}, path: "/app"},
		{name: "absolute link to a host path", arg: "/l", tree: []string{"l->HOST/secret.wasm"}},
		{name: "escaping link", arg: "/l", tree: []string{"l->../../../../../../../../HOST/secret.wasm"}},
		{name: "one up from the rootfs", arg: "/l", tree: []string{"l->../secret.wasm"}},
		{name: "link loop", arg: "/a", tree: []string{"a->b", "b->a"}},
		{name: "link to itself", arg: "/a/x", tree: []string{"a->a"}},
		{name: "directory loop", arg: "/a/a/a/app", tree: []string{"a->.", "app=@wasm"}, path: "/app"},
		{name: "40 links", arg: "/l40", tree: links(40), path: "/l0"},
		{name: "41 links", arg: "/l41", tree: links(41)},
		{name: "trailing slash", arg: "/app/", tree: []string{"app=@wasm"}},
		{name: "trailing dot", arg: "/app/.", tree: []string{"app=@wasm"}},
		{name: "trailing dot dot", arg: "/app/../app", tree: []string{"app=@wasm"}},
		{name: "link with a trailing slash", arg: "/l", tree: []string{"l->app/", "app=@wasm"}},
		{name: "through a file", arg: "/app/x", tree: []string{"app=@wasm"}},
		{name: "name too long", arg: "/" + strings.Repeat("x", 256)},
		{name: "path too long", arg: "/" + strings.Repeat("/", 4096) + "app", tree: []string{"app=@wasm"}},
		{name: "deep", arg: strings.Repeat("/d", 127) + "/app", tree: []string{strings.Repeat("d/", 127) + "app=@wasm"}, path: strings.Repeat("/d", 127) + "/app"},
		{name: "too deep", arg: strings.Repeat("/d", 128) + "/app", tree: []string{strings.Repeat("d/", 128) + "app=@wasm"}},

		{name: "bind directory", arg: "/mnt/app.wasm", mounts: []specs.Mount{bindMount("HOST/src", "/mnt")}, path: "/mnt/app.wasm", from: "src/app.wasm"},
		{name: "bind directory, relative source", arg: "/mnt/app.wasm", mounts: []specs.Mount{bindMount("src", "/mnt")}, path: "/mnt/app.wasm", from: "src/app.wasm"},
		{name: "bind file", arg: "/x/m", tree: []string{"x/"}, mounts: []specs.Mount{bindMount("HOST/dir.wasm", "/x/m")}, path: "/x/m", from: "dir.wasm"},
		{name: "bind over a file of the image", arg: "/m", tree: []string{"m=@elf"}, mounts: []specs.Mount{bindMount("HOST/dir.wasm", "/m")}, path: "/m", from: "dir.wasm"},
		{name: "bind over a link of the image", arg: "/m", tree: []string{"m->x", "x=@elf"}, mounts: []specs.Mount{bindMount("HOST/dir.wasm", "/m")}, path: "/x", from: "dir.wasm"},
		{name: "not recursive", arg: "/mnt/app.wasm", mounts: []specs.Mount{{Destination: "/mnt", Source: "src", Options: []string{"bind"}}}, path: "/mnt/app.wasm", from: "src/app.wasm"},
		{name: "absolute link in a bind mount starts at the container's root", arg: "/mnt/sub/x", tree: []string{"app.wasm=@wasm"}, mounts: []specs.Mount{bindMount("src", "/mnt")}, path: "/app.wasm"},
		{name: "link up from a bind mount", arg: "/a/mnt/up", tree: []string{"in.wasm=@wasm", "a/"}, mounts: []specs.Mount{bindMount("src", "/a/mnt")}, path: "/in.wasm"},
		{name: "dot dot out of a bind mount", arg: "/a/mnt/../in.wasm", tree: []string{"a/in.wasm=@wasm"}, mounts: []specs.Mount{bindMount("src", "/a/mnt")}, path: "/a/in.wasm"},
		{name: "image link into a bind mount", arg: "/l", tree: []string{"l->mnt/app.wasm"}, mounts: []specs.Mount{bindMount("src", "/mnt")}, path: "/mnt/app.wasm", from: "src/app.wasm"},
		{name: "destination through a link", arg: "/run/m/app.wasm", tree: []string{"var/run->/run", "run/"}, mounts: []specs.Mount{bindMount("src", "/var/run/m")}, path: "/run/m/app.wasm", from: "src/app.wasm"},
		{name: "destination through a link, entrypoint too", arg: "/var/run/m/app.wasm", tree: []string{"var/run->/run"}, mounts: []specs.Mount{bindMount("src", "/var/run/m")}, path: "/run/m/app.wasm", from: "src/app.wasm"},
		{name: "deep bind on tmpfs", arg: "/a/b/c/../c/app.wasm", mounts: []specs.Mount{tmpfs("/a"), bindMount("src", "/a/b/c")}, path: "/a/b/c/app.wasm", from: "src/app.wasm"},
		{name: "beside a deep bind on tmpfs", arg: "/a/b/d", mounts: []specs.Mount{tmpfs("/a"), bindMount("src", "/a/b/c")}},
		{name: "destination not clean", arg: "/mnt/app.wasm", mounts: []specs.Mount{bindMount("src", "x/..//mnt/")}, path: "/mnt/app.wasm", from: "src/app.wasm"},
		{name: "destination with the rootfs in front", arg: "/mnt/app.wasm", mounts: []specs.Mount{bindMount("src", "HOST/rootfs/mnt")}, path: "/mnt/app.wasm", from: "src/app.wasm"},
		{name: "missing source", arg: "/mnt/app.wasm", tree: []string{"mnt/app.wasm=@wasm"}, mounts: []specs.Mount{bindMount("gone", "/mnt")}},

		{name: "tmpfs covers", arg: "/a/app", tree: []string{"a/app=@wasm"}, mounts: []specs.Mount{tmpfs("/a")}},
		{name: "tmpfs covers further down", arg: "/a/b/c/app", tree: []string{"a/b/c/app=@wasm"}, mounts: []specs.Mount{tmpfs("/a/b")}},
		{name: "tmpfs beside", arg: "/ab/app", tree: []string{"ab/app=@wasm"}, mounts: []specs.Mount{tmpfs("/a")}, path: "/ab/app"},
		{name: "tmpfs with copy up", arg: "/a/app", tree: []string{"a/app=@wasm"}, mounts: []specs.Mount{copyUp}, path: "/a/app"},
		{name: "bind on tmpfs", arg: "/a/b/app.wasm", mounts: []specs.Mount{tmpfs("/a"), bindMount("src", "/a/b")}, path: "/a/b/app.wasm", from: "src/app.wasm"},
		{name: "tmpfs over bind below it", arg: "/a/b/app.wasm", mounts: []specs.Mount{bindMount("src", "/a/b"), tmpfs("/a")}},
		{name: "later mount wins", arg: "/a/app.wasm", mounts: []specs.Mount{tmpfs("/a"), bindMount("src", "/a")}, path: "/a/app.wasm", from: "src/app.wasm"},
		{name: "earlier mount is covered", arg: "/a/app.wasm", mounts: []specs.Mount{bindMount("src", "/a"), tmpfs("/a")}},
		{name: "out of a covered mount", arg: "/a/../app", tree: []string{"app=@wasm"}, mounts: []specs.Mount{tmpfs("/a")}, path: "/app"},
		{name: "bind inside bind", arg: "/a/sub/dir.wasm", mounts: []specs.Mount{bindMount("src", "/a"), bindMount("HOST", "/a/sub")}, path: "/a/sub/dir.wasm", from: "dir.wasm"},
		{name: "masked file", arg: "/app", tree: []string{"app=@wasm"}, masked: []string{"/app"}},
		{name: "masked directory", arg: "/l", tree: []string{"l->a/app", "a/app=@wasm"}, masked: []string{"/a"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := hostDir(t)
			expand := strings.NewReplacer("HOST", dir)
			plant(t, dir, "rootfs/")
			plant(t, dir, host...)
			for _, e := range row.tree {
				plant(t, dir+"/rootfs", expand.Replace(e))
			}
			b := &Bundle{Dir: dir, Spec: &specs.Spec{
				Root:    &specs.Root{Path: "rootfs"},
				Process: &specs.Process{Args: []string{row.arg}, Cwd: "/"},
				Linux:   &specs.Linux{MaskedPaths: row.masked},
			}}
			if row.cwd != "" {
				b.Spec.Process.Cwd = row.cwd
			}
			for _, m := range row.mounts {
				m.Source, m.Destination = expand.Replace(m.Source), expand.Replace(m.Destination)
				b.Spec.Mounts = append(b.Spec.Mounts, m)
			}
			checkPath(t, b, row.path, row.from)
		})
	}
}

// hostDir is t.TempDir as the kernel names it.
func hostDir(t testing.TB) string {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func checkPath(t *testing.T, b *Bundle, path, from string) {
	t.Helper()
	before := openFiles(t)
	w, err := Detect(b)
	if err != nil {
		t.Fatal(err)
	}
	if path == "" {
		if w.Kind != Native || w.Path != "" {
			t.Fatalf("found %+v, want nothing", w)
		}
	} else {
		if w.Kind != Module || w.Path != path {
			t.Fatalf("found %+v, want module %s", w, path)
		}
		if from == "" {
			from = "rootfs" + path
		}
		got, err := os.Readlink(procFD(int(w.Module.Fd())))
		if err != nil || got != filepath.Join(b.Dir, from) {
			t.Errorf("opened %s (%v), want %s", got, err, filepath.Join(b.Dir, from))
		}
		w.Module.Close()
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

// links makes /l0, a module, and n links in a row to it.
func links(n int) []string {
	list := []string{"l0=@wasm"}
	for i := range n {
		list = append(list, fmt.Sprintf("l%d->l%d", i+1, i))
	}
	return list
}
