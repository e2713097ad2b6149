package oci

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// TestDetectAnnotations walks through the rules of RATIONALE.md.
func TestDetectAnnotations(t *testing.T) {
	tree := []string{
		"app.wasm=@wasm and more", "comp=@component", "sh*=@elf", "script*=#!/bin/sh\nexit 0\n", "empty=",
		"text.wat=(module)", "comment.wat=;; says nothing\n(module)", "data=\x01\x02", "short=\x00as", "half=\x00asm\x01\x00",
		"new=\x00asm\x02\x00\x00\x00", "layer=\x00asm\x01\x00\x01\x00", "dir/", "fifo|fifo", "socket|socket", "dangling->nowhere",
	}
	const sandbox = "pod sandbox container"
	for _, row := range []struct {
		arg    string
		notes  string // key=value, comma separated
		kind   Kind
		engine string
		why    string // part of Why
		err    string // the whole error
		is     error
	}{
		{arg: "/app.wasm", kind: Module, why: "magic bytes of /app.wasm"},
		{arg: "/comp", kind: Component, why: "magic bytes of /comp"},
		{arg: "/sh", why: "/sh is an ELF program"},
		{arg: "/script", why: `/script is a script ("#!/bin/sh")`},
		{arg: "/empty", why: "/empty is an empty file"},
		{arg: "/text.wat", why: "/text.wat is WebAssembly text"},
		{arg: "/data", why: "(it starts with 01 02)"},
		{arg: "/short", why: "(it starts with 00 61 73)"},
		{arg: "/dir", why: "/dir is a directory"},
		{arg: "/fifo", why: "/fifo is a fifo"},
		{arg: "/socket", why: "/socket is a socket"},
		{arg: "/gone", why: "entrypoint: stat /gone: no such file or directory"},
		{arg: "/dangling", why: "entrypoint: stat /dangling: no such file or directory"},
		{arg: "gone", why: "entrypoint: executable file not found in $PATH"},
		{arg: "/half", err: `exec: "/half": /half: unknown Wasm version: only 6 of 8 header bytes`, is: ErrModuleVersion},
		{arg: "/new", err: `exec: "/new": /new: unknown Wasm version: header bytes 02 00 00 00`, is: ErrModuleVersion},
		{arg: "/layer", err: `exec: "/layer": /layer: unknown Wasm version: header bytes 01 00 01 00`, is: ErrModuleVersion},

		{arg: "/app.wasm", notes: "run.oci.handler=wasm", kind: Module, why: "annotation run.oci.handler=wasm"},
		{arg: "/app.wasm", notes: "run.oci.handler=wasmedge", kind: Module, why: "annotation run.oci.handler=wasmedge"},
		{arg: "/app.wasm", notes: "run.oci.handler=wasmtime", kind: Module, engine: "wasmtime"},
		{arg: "/app.wasm", notes: "run.oci.handler=wazero", kind: Module, engine: "wazero"},
		{arg: "/comp", notes: "run.oci.handler=wazero", kind: Component, engine: "wazero"},
		{arg: "/app.wasm", notes: "run.oci.handler=wasm-smart", kind: Module, why: "annotation run.oci.handler=wasm-smart, magic bytes of /app.wasm"},
		{arg: "/sh", notes: "run.oci.handler=wasm-smart", why: "annotation run.oci.handler=wasm-smart, /sh is an ELF program"},
		{arg: "/app.wasm", notes: "module.wasm.image/variant=compat", kind: Module, why: "annotation module.wasm.image/variant=compat"},
		{arg: "/app.wasm", notes: "module.wasm.image/variant=compat-smart", kind: Module, why: "compat-smart, magic bytes"},
		{arg: "/sh", notes: "module.wasm.image/variant=compat-smart", why: "/sh is an ELF program"},
		{arg: "/app.wasm", notes: "run.runw.engine=wazero", kind: Module, engine: "wazero", why: "magic bytes"},
		{arg: "/app.wasm", notes: "run.runw.engine=auto", kind: Module},
		{arg: "/sh", notes: "run.runw.engine=wasmtime", engine: "wasmtime", why: "/sh is an ELF program"},
		{arg: "/sh", notes: "run.oci.handler=,module.wasm.image/variant=,run.runw.engine=", why: "/sh is an ELF program"},
		{arg: "/sh", notes: "run.oci.crun.wasm=true,run.oci.keep_original_groups=1", why: "/sh is an ELF program"},

		// Precedence.
		{arg: "/sh", notes: "run.oci.handler=wasm-smart,module.wasm.image/variant=compat", why: "annotation run.oci.handler=wasm-smart, /sh"},
		{arg: "/app.wasm", notes: "run.oci.handler=wasmtime,run.runw.engine=wazero", kind: Module, engine: "wazero"},
		{arg: "/app.wasm", notes: "run.oci.handler=wasmtime,run.runw.engine=auto", kind: Module},
		{arg: "/sh", notes: "run.oci.handler=wasm,io.kubernetes.cri.container-type=sandbox", why: sandbox},
		{arg: "/app.wasm", notes: "run.oci.handler=wasm,io.kubernetes.cri-o.ContainerType=sandbox", why: sandbox},
		{arg: "/app.wasm", notes: "run.oci.handler=dotnet,io.kubernetes.cri-o.ContainerType=sandbox", why: sandbox},
		{arg: "/app.wasm", notes: "run.oci.handler=wasm,io.kubernetes.cri.container-type=container", kind: Module},

		// Values that nobody knows.
		{arg: "/sh", notes: "run.oci.handler=krun", is: ErrUnknownHandler,
			err: `annotations["run.oci.handler"]: unknown value "krun": want wasm, wasm-smart, wasmedge, wasmtime, wazero`},
		{arg: "/sh", notes: "run.oci.handler=wasm,module.wasm.image/variant=no", is: ErrUnknownHandler,
			err: `annotations["module.wasm.image/variant"]: unknown value "no": want compat, compat-smart`},
		{arg: "/sh", notes: "run.runw.engine=Wazero", is: ErrUnknownHandler,
			err: `annotations["run.runw.engine"]: unknown value "Wazero": want auto, wasmtime, wazero`},

		// A module is asked for and something else is there.
		{arg: "/sh", notes: "run.oci.handler=wasm", is: ErrNotModule,
			err: `exec: "/sh": /sh is an ELF program, not a Wasm module (annotation run.oci.handler=wasm asks for one)`},
		{arg: "/script", notes: "module.wasm.image/variant=compat", is: ErrNotModule,
			err: `exec: "/script": /script is a script ("#!/bin/sh"), not a Wasm module (annotation module.wasm.image/variant=compat asks for one)`},
		{arg: "/text.wat", notes: "run.oci.handler=wasm", is: ErrNotModule,
			err: `exec: "/text.wat": /text.wat is WebAssembly text, not a Wasm module (annotation run.oci.handler=wasm asks for one): convert it to the binary format first, for example with wat2wasm`},
		{arg: "/comment.wat", notes: "run.oci.handler=wasm", is: ErrNotModule,
			err: `exec: "/comment.wat": /comment.wat is WebAssembly text, not a Wasm module (annotation run.oci.handler=wasm asks for one): convert it to the binary format first, for example with wat2wasm`},
		{arg: "/empty", notes: "run.oci.handler=wasm", is: ErrNotModule,
			err: `exec: "/empty": /empty is an empty file, not a Wasm module (annotation run.oci.handler=wasm asks for one)`},
		{arg: "/dir", notes: "run.oci.handler=wasm", is: ErrNotModule,
			err: `exec: "/dir": /dir is a directory, not a Wasm module (annotation run.oci.handler=wasm asks for one)`},
		{arg: "/fifo", notes: "run.oci.handler=wasm", is: ErrNotModule,
			err: `exec: "/fifo": /fifo is a fifo, not a Wasm module (annotation run.oci.handler=wasm asks for one)`},
		{arg: "/socket", notes: "run.oci.handler=wasm", is: ErrNotModule,
			err: `exec: "/socket": /socket is a socket, not a Wasm module (annotation run.oci.handler=wasm asks for one)`},
		{arg: "/half", notes: "run.oci.handler=wasm", is: ErrModuleVersion,
			err: `exec: "/half": /half: unknown Wasm version: only 6 of 8 header bytes`},
		{arg: "/gone", notes: "run.oci.handler=wasm", is: fs.ErrNotExist,
			err: `exec: "/gone": stat /gone: no such file or directory`},
		{arg: "./gone", notes: "run.oci.handler=wasm", is: fs.ErrNotExist,
			err: `exec: "./gone": stat ./gone: no such file or directory`},
		{arg: "gone", notes: "run.oci.handler=wasm", is: fs.ErrNotExist,
			err: `exec: "gone": executable file not found in $PATH`},
		{arg: "gone", notes: "run.oci.handler=wasm", is: ErrNotFound,
			err: `exec: "gone": executable file not found in $PATH`},
		{arg: "/app.wasm/x", notes: "run.oci.handler=wasm",
			err: `exec: "/app.wasm/x": stat /app.wasm/x: not a directory`},
		{arg: "/proc/x", notes: "run.oci.handler=wasm", is: fs.ErrNotExist,
			err: `exec: "/proc/x": stat /proc/x: no such file or directory (covered by mounts[0], a mount of type proc)`},
	} {
		t.Run(row.arg+","+row.notes, func(t *testing.T) {
			b := newBundle(t, []string{row.arg}, tree...)
			b.Spec.Mounts = []specs.Mount{{Destination: "/proc", Type: "proc", Source: "proc"}}
			b.Spec.Annotations = map[string]string{}
			for kv := range strings.SplitSeq(row.notes, ",") {
				if k, v, ok := strings.Cut(kv, "="); ok {
					b.Spec.Annotations[k] = v
				}
			}
			before := openFiles(t)
			w, err := detect(t, b)
			if row.err != "" {
				if err == nil || err.Error() != row.err {
					t.Errorf("error %v\nwant  %s", err, row.err)
				}
				if row.is != nil && !errors.Is(err, row.is) {
					t.Errorf("%v is not %v", err, row.is)
				}
				if after := openFiles(t); after != before {
					t.Errorf("%d descriptors before, %d after", before, after)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if w.Kind != row.kind || w.Engine != row.engine || !strings.Contains(w.Why, row.why) {
				t.Errorf("got %+v, want kind %v, engine %q, why %q", w, row.kind, row.engine, row.why)
			}
		})
	}
}

func TestDetectModule(t *testing.T) {
	b := newBundle(t, []string{"/l"}, "l->bin/app", "bin/app=@wasm tail")
	w, err := detect(t, b)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(w.Module)
	if err != nil || string(data) != "\x00asm\x01\x00\x00\x00 tail" {
		t.Errorf("read %q, %v: want the whole file from its start", data, err)
	}
	if w.Module.Name() != "/bin/app" {
		t.Errorf("the file is called %s, want the container's path", w.Module.Name())
	}
}

func TestDetectDevice(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mknod needs root")
	}
	b := newBundle(t, []string{"/null"}, "null|device")
	w, err := detect(t, b)
	if err != nil || w.Kind != Native || w.Why != "/null is a character device" {
		t.Errorf("got %+v, %v", w, err)
	}
}

// TestDetectSearch is exec.LookPath's rule with what a module adds to it.
func TestDetectSearch(t *testing.T) {
	for _, row := range []struct {
		name   string
		arg    string
		env    []string
		cwd    string
		forced bool
		tree   []string
		path   string // "": not found
		kind   Kind
		export string
		err    string
	}{
		{name: "module without x", arg: "app", env: []string{"PATH=/usr/bin:/bin"}, tree: []string{"bin/app=@wasm"}, path: "/bin/app", kind: Module},
		{name: "program before module", arg: "app", env: []string{"PATH=/usr/bin:/bin"}, tree: []string{"usr/bin/app*=@elf", "bin/app=@wasm"}, path: "/usr/bin/app"},
		{name: "not executable before module", arg: "app", env: []string{"PATH=/usr/bin:/bin"}, tree: []string{"usr/bin/app=@elf", "bin/app=@wasm"}, path: "/bin/app", kind: Module},
		{name: "directory before module", arg: "app", env: []string{"PATH=/usr/bin:/bin"}, tree: []string{"usr/bin/app/", "bin/app=@wasm"}, path: "/bin/app", kind: Module},
		{name: "module before program", arg: "app", env: []string{"PATH=/usr/bin:/bin"}, tree: []string{"usr/bin/app=@wasm", "bin/app*=@elf"}, path: "/usr/bin/app", kind: Module},
		{name: "through a link", arg: "app", env: []string{"PATH=/bin"}, tree: []string{"bin->usr/bin", "usr/bin/app=@wasm"}, path: "/usr/bin/app", kind: Module},
		{name: "PATH entry cleaned as text", arg: "app", env: []string{"PATH=/no/../bin"}, tree: []string{"bin/app=@wasm"}, path: "/bin/app", kind: Module},
		{name: "last PATH counts", arg: "app", env: []string{"PATH=/bin", "PATH=/sbin"}, tree: []string{"bin/app*=@elf", "sbin/app=@wasm"}, path: "/sbin/app", kind: Module},
		{name: "empty entry is the working directory", arg: "app", env: []string{"PATH=/x::/y"}, cwd: "/srv", tree: []string{"srv/app=@wasm"}, path: "/srv/app", kind: Module},
		{name: "program in the working directory is not looked for", arg: "app", env: []string{"PATH=/bin"}, cwd: "/srv", tree: []string{"srv/app*=@elf"}},
		{name: "module in the working directory is", arg: "app", env: []string{"PATH=/bin"}, cwd: "/srv", tree: []string{"srv/app=@wasm"}, path: "/srv/app", kind: Module},
		{name: "no PATH", arg: "sh", tree: []string{"bin/sh*=@elf"}},
		{name: "no PATH, module", arg: "app", tree: []string{"app=@wasm"}, path: "/app", kind: Module},
		{name: "PATH that execve would refuse", arg: "app", env: []string{"PATH=/bin:" + strings.Repeat("x", maxEnv)}, tree: []string{"bin/app=@wasm"}},
		{name: "empty name", arg: "", env: []string{"PATH=/bin"}, tree: []string{"bin/x=@wasm"}},
		{name: "dot", arg: ".", env: []string{"PATH=/bin"}, tree: []string{"bin/x=@wasm"}},
		{name: "dot dot", arg: "..", env: []string{"PATH=/bin"}, tree: []string{"bin/x=@wasm"}},
		{name: "forced, nothing but a damaged file", arg: "app", env: []string{"PATH=/bin"}, forced: true, tree: []string{"bin/app=xyz"},
			err: `exec: "app": /bin/app is a file without Wasm's magic bytes (it starts with 78 79 7a), not a Wasm module (annotation run.oci.handler=wasm asks for one)`},
		{name: "forced, damaged before good", arg: "app", env: []string{"PATH=/usr/bin:/bin"}, forced: true, tree: []string{"usr/bin/app=", "bin/app=@wasm"}, path: "/bin/app", kind: Module},
		{name: "forced, program", arg: "app", env: []string{"PATH=/bin"}, forced: true, tree: []string{"bin/app*=@elf", "app=@wasm"},
			err: `exec: "app": /bin/app is an ELF program, not a Wasm module (annotation run.oci.handler=wasm asks for one)`},
		{name: "truncated module", arg: "app", env: []string{"PATH=/bin"}, tree: []string{"bin/app=\x00asm"},
			err: `exec: "app": /bin/app: unknown Wasm version: only 4 of 8 header bytes`},

		{name: "export", arg: "/app.wasm#run", tree: []string{"app.wasm=@wasm"}, path: "/app.wasm", kind: Module, export: "run"},
		{name: "export, bare name", arg: "app#run", env: []string{"PATH=/bin"}, tree: []string{"bin/app=@wasm"}, path: "/bin/app", kind: Module, export: "run"},
		{name: "export with slash and hash", arg: "/a#wasi:cli/run@0.2.0#run", tree: []string{"a=@component"}, path: "/a", kind: Component, export: "wasi:cli/run@0.2.0#run"},
		{name: "file with a hash", arg: "/app#run", tree: []string{"app=@wasm", "app#run=@wasm"}, path: "/app#run", kind: Module},
		{name: "file with a hash, and export", arg: "/app#1#run", tree: []string{"app#1=@wasm"}, path: "/app#1", kind: Module, export: "run"},
		{name: "program with a hash", arg: "/app#run", tree: []string{"app=@wasm", "app#run*=@elf"}, path: "/app#run"},
		{name: "export of a program", arg: "/sh#run", tree: []string{"sh*=@elf"}},
		{name: "export, forced, of a program", arg: "/sh#run", forced: true, tree: []string{"sh*=@elf"},
			err: `exec: "/sh#run": /sh is an ELF program, not a Wasm module (annotation run.oci.handler=wasm asks for one)`},
		{name: "empty export", arg: "/app.wasm#", tree: []string{"app.wasm=@wasm"}},
		{name: "export of nothing", arg: "#run", env: []string{"PATH=/"}, tree: []string{"run=@wasm"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			b := newBundle(t, []string{row.arg}, row.tree...)
			b.Spec.Process.Env = row.env
			if row.cwd != "" {
				b.Spec.Process.Cwd = row.cwd
			}
			if row.forced {
				b.Spec.Annotations = map[string]string{AnnotationHandler: HandlerWasm}
			}
			w, err := detect(t, b)
			if row.err != "" {
				if err == nil || err.Error() != row.err {
					t.Errorf("error %v\nwant  %s", err, row.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if w.Path != row.path || w.Kind != row.kind || w.Export != row.export {
				t.Errorf("got %+v, want %v %s export %q", w, row.kind, row.path, row.export)
			}
		})
	}
}

// TestDetectUnreadable is the view of a caller without privileges on a file that
// may only be executed.
func TestDetectUnreadable(t *testing.T) {
	b := newBundle(t, []string{"/x"}, "x*=@wasm")
	if err := os.Chmod(b.Dir+"/rootfs/x", 0o111); err != nil {
		t.Fatal(err)
	}
	for dir := b.Dir; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	leaveRoot(t)
	w, err := detect(t, b)
	if err != nil || w.Kind != Native || w.Why != "/x cannot be read: permission denied" {
		t.Errorf("got %+v, %v", w, err)
	}
	b.Spec.Annotations = map[string]string{AnnotationHandler: HandlerWasm}
	_, err = detect(t, b)
	if err == nil || err.Error() != `exec: "/x": open /x: permission denied` || !errors.Is(err, fs.ErrPermission) {
		t.Errorf("forced: %v", err)
	}
}

// leaveRoot gives the calling test another user's view of the file system if it
// runs as root: the file system uid belongs to the thread, and with it go root's
// capabilities over files.
func leaveRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		return
	}
	runtime.LockOSThread()
	dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	const nobody = 65534
	if err := unix.Setfsuid(nobody); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Setfsuid(0); err != nil {
			t.Error(err)
			return // the thread stays locked and ends with the test
		}
		// A change of the uid clears it for the whole process.
		if err := unix.Prctl(unix.PR_SET_DUMPABLE, uintptr(dumpable), 0, 0, 0); err != nil {
			t.Error(err)
		}
		runtime.UnlockOSThread()
	})
}
