package integration

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// rule is one thing that config.json can say, seen by a native program and by a module.
type rule struct {
	name   string
	spec   func(*box)
	native []string // args of busybox; nil: the rule is not about native programs
	wasm   []string // args of the C probe
	exit   int
	says   []string
	fails  []string // in place of says, for the module alone
	after  func(*testing.T, *box)
	// unable tells why the machine or the runtime cannot do it.
	unable func() string
}

func (r rule) run(t *testing.T) {
	for guest, args := range map[string][]string{"busybox": r.native, "c/probe": r.wasm} {
		if args == nil {
			continue
		}
		t.Run(guest, func(t *testing.T) {
			if r.unable != nil {
				if why := r.unable(); why != "" {
					t.Skip(why)
				}
			}
			b := newBox(t, guest, args...)
			if r.spec != nil {
				r.spec(b)
			}
			want := r.exit
			if guest == "c/probe" && r.fails != nil {
				want = 1
			}
			res := b.run().exits(want)
			if guest == "c/probe" && r.fails != nil {
				res.says(r.fails...)
			} else {
				res.says(r.says...)
			}
			if r.after != nil {
				r.after(t, b)
			}
		})
	}
}

func rules(t *testing.T, rows []rule) {
	for _, row := range rows {
		t.Run(row.name, row.run)
	}
}

// bind mounts a new directory or file of the host.
func (b *box) bind(source, destination string, options ...string) {
	b.Spec.Mounts = append(b.Spec.Mounts, specs.Mount{
		Type: "bind", Source: source, Destination: destination, Options: append([]string{"bind"}, options...),
	})
}

func TestFiles(t *testing.T) {
	rules(t, []rule{
		{
			name:   "rootfs is writable",
			native: []string{"sh", "-c", "echo text >/made && echo made: written"},
			wasm:   []string{"write", "/made"},
			says:   []string{"made: written"},
			after: func(t *testing.T, b *box) {
				if content, err := os.ReadFile(b.Path("made")); err != nil || !strings.Contains(string(content), "text") {
					t.Errorf("file made in the rootfs: %q, %v", content, err)
				}
			},
		},
		{
			name:   "rootfs is read-only",
			spec:   func(b *box) { b.Spec.Root.Readonly = true },
			native: []string{"sh", "-c", "echo text >/made"},
			wasm:   []string{"write", "/made"},
			exit:   1,
			fails:  []string{"Read-only file system"},
		},
		{
			name: "bind mount is writable",
			spec: func(b *box) {
				mkdir(b.t, filepath.Join(b.dir, "volume"))
				b.bind(filepath.Join(b.dir, "volume"), "/volume")
			},
			native: []string{"sh", "-c", "echo text >/volume/made && echo made: written"},
			wasm:   []string{"write", "/volume/made"},
			says:   []string{"made: written"},
			after: func(t *testing.T, b *box) {
				if content := b.output("volume/made"); !strings.Contains(content, "text") {
					t.Errorf("file made in the volume: %q", content)
				}
			},
		},
		{
			name:   "bind mount is read-only",
			spec:   func(b *box) { b.write("volume/file", "kept"); b.bind(filepath.Join(b.dir, "volume"), "/volume", "ro") },
			native: []string{"sh", "-c", "echo text >/volume/file"},
			wasm:   []string{"write", "/volume/file"},
			exit:   1,
			fails:  []string{"Read-only file system"},
			after: func(t *testing.T, b *box) {
				if got := b.output("volume/file"); got != "kept" {
					t.Errorf("read-only file now holds %q", got)
				}
			},
		},
		{
			name:   "bind mount of a file",
			spec:   func(b *box) { b.bind(b.write("hosts", "127.0.0.1 me\n"), "/etc/hosts", "ro") },
			native: []string{"cat", "/etc/hosts"},
			wasm:   []string{"read", "/etc/hosts"},
			says:   []string{"127.0.0.1 me"},
		},
		{
			name: "tmpfs",
			spec: func(b *box) {
				b.Spec.Mounts = append(b.Spec.Mounts, specs.Mount{Type: "tmpfs", Source: "tmpfs", Destination: "/scratch", Options: []string{"size=1m"}})
			},
			native: []string{"sh", "-c", "echo text >/scratch/made && echo made: written"},
			wasm:   []string{"write", "/scratch/made"},
			says:   []string{"made: written"},
			after: func(t *testing.T, b *box) {
				if _, err := os.Stat(b.Path("scratch", "made")); err == nil {
					t.Error("the tmpfs was not one: its file is in the rootfs")
				}
			},
		},
		{
			name: "masked file and directory",
			spec: func(b *box) {
				must(b.t, os.WriteFile(b.Path("secret"), []byte("secret words"), 0o644))
				must(b.t, os.WriteFile(filepath.Join(mkdir(b.t, b.Path("vault")), "key"), []byte("secret words"), 0o644))
				b.Spec.Linux.MaskedPaths = append(b.Spec.Linux.MaskedPaths, "/secret", "/vault")
			},
			native: []string{"sh", "-c", "cat /secret; ls /vault; echo done"},
			wasm:   []string{"try", "/secret", "/vault/key"},
			says:   []string{"!secret words", "!key\n", "!read 12"},
		},
		{
			name: "read-only path",
			spec: func(b *box) {
				mkdir(b.t, b.Path("fixed"))
				b.Spec.Linux.ReadonlyPaths = append(b.Spec.Linux.ReadonlyPaths, "/fixed")
			},
			native: []string{"sh", "-c", "echo text >/fixed/made"},
			wasm:   []string{"write", "/fixed/made"},
			exit:   1,
			fails:  []string{"Read-only file system"},
		},
		{
			name: "working directory",
			spec: func(b *box) {
				must(b.t, os.WriteFile(filepath.Join(mkdir(b.t, b.Path("work")), "here"), []byte("found"), 0o644))
				b.Spec.Process.Cwd = "/work"
			},
			native: []string{"cat", "here"},
			says:   []string{"found"},
		},
		{
			name:   "host files stay out",
			spec:   func(b *box) { must(b.t, os.Symlink("../../../../../../etc/shadow", b.Path("link"))) },
			native: []string{"sh", "-c", "cat /link /../../../etc/shadow; echo done"},
			wasm:   []string{"try", "/link", "/../../../etc/shadow", "../../../etc/shadow"},
			says:   []string{"!root:", "!OPENED"},
		},
	})
}

// The cwd of config.json is a module's, by the ways that languages have: Go reads PWD, and
// wasi-libc takes the directory that is preopened as ".".
func TestModuleCwd(t *testing.T) {
	rows := []struct{ name, guest, preopens, file string }{
		{"Go, relative", "go/probe", "", "here"},
		{"Go, absolute", "go/probe", "", "/work/here"},
		{"C, absolute", "c/probe", "", "/work/here"},
		{"C, relative to the one preopen", "c/probe", ".", "here"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			b := newBox(t, row.guest, "read", row.file)
			must(t, os.WriteFile(filepath.Join(mkdir(t, b.Path("work")), "here"), []byte("found"), 0o644))
			b.Spec.Process.Cwd = "/work"
			if row.preopens != "" {
				b.Spec.Annotations = map[string]string{"run.runw.preopens": row.preopens}
			}
			b.run().ok().says("found")
		})
	}
}

// owned makes a file that one owner and one group may read.
func (b *box) owned(name string, uid, gid int, mode os.FileMode) {
	b.t.Helper()
	must(b.t, os.WriteFile(b.Path(name), []byte("the content of "+name+"\n"), 0o600))
	must(b.t, os.Chown(b.Path(name), uid, gid))
	must(b.t, os.Chmod(b.Path(name), mode))
}

func (b *box) as(uid, gid uint32, groups ...uint32) {
	b.Spec.Process.User = specs.User{UID: uid, GID: gid, AdditionalGids: groups}
	b.Spec.Process.Capabilities = &specs.LinuxCapabilities{}
}

func TestUser(t *testing.T) {
	rules(t, []rule{
		{
			name:   "reads what is its own",
			spec:   func(b *box) { b.owned("mine", 1234, 0, 0o400); b.as(1234, 2345) },
			native: []string{"cat", "/mine"},
			wasm:   []string{"read", "/mine"},
			says:   []string{"the content of mine"},
		},
		{
			name:   "does not read root's",
			spec:   func(b *box) { b.owned("roots", 0, 0, 0o600); b.as(1234, 2345) },
			native: []string{"cat", "/roots"},
			wasm:   []string{"read", "/roots"},
			exit:   1,
			says:   []string{"!the content"},
			fails:  []string{"!the content", "Permission denied"},
		},
		{
			name:   "reads its group's",
			spec:   func(b *box) { b.owned("groups", 0, 2345, 0o040); b.as(1234, 2345) },
			native: []string{"cat", "/groups"},
			wasm:   []string{"read", "/groups"},
			says:   []string{"the content of groups"},
		},
		{
			name:   "reads an additional group's",
			spec:   func(b *box) { b.owned("extra", 0, 3456, 0o040); b.as(1234, 2345, 3456, 4567) },
			native: []string{"cat", "/extra"},
			wasm:   []string{"read", "/extra"},
			says:   []string{"the content of extra"},
		},
		{
			name:   "root without capabilities is no owner of all",
			spec:   func(b *box) { b.owned("others", 1234, 1234, 0o600); b.as(0, 0) },
			native: []string{"cat", "/others"},
			wasm:   []string{"read", "/others"},
			exit:   1,
			says:   []string{"!the content"},
			fails:  []string{"!the content", "Permission denied"},
		},
		{
			name: "what it makes is its own",
			spec: func(b *box) {
				must(b.t, os.Chown(mkdir(b.t, b.Path("home")), 1234, 2345))
				b.as(1234, 2345)
			},
			native: []string{"touch", "/home/made"},
			wasm:   []string{"write", "/home/made"},
			after: func(t *testing.T, b *box) {
				info, err := os.Stat(b.Path("home", "made"))
				must(t, err)
				if st := info.Sys().(*syscall.Stat_t); st.Uid != 1234 || st.Gid != 2345 {
					t.Errorf("owner %d:%d, want 1234:2345", st.Uid, st.Gid)
				}
			},
		},
		{
			name:   "ids of a native program",
			spec:   func(b *box) { b.as(1234, 2345, 3456) },
			native: []string{"id"},
			says:   []string{"uid=1234", "gid=2345", "3456"},
		},
	})
}

func TestCapabilities(t *testing.T) {
	rules(t, []rule{
		{
			name: "as configured",
			spec: func(b *box) {
				caps := []string{"CAP_NET_BIND_SERVICE", "CAP_CHOWN"}
				b.Spec.Process.Capabilities = &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}
			},
			native: []string{"grep", "-E", "^(Cap|NoNewPrivs)", "/proc/self/status"},
			says:   []string{"CapEff:\t0000000000000401", "CapBnd:\t0000000000000401", "CapPrm:\t0000000000000401", "NoNewPrivs:\t1"},
		},
	})
}

func TestRlimits(t *testing.T) {
	rules(t, []rule{{
		name: "nofile",
		spec: func(b *box) {
			b.Spec.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 64, Hard: 64}}
		},
		native: []string{"sh", "-c", "ulimit -n"},
		wasm:   []string{"many", "/app.wasm"},
		after: func(t *testing.T, b *box) {
			if out := b.output("stdout"); b.Spec.Process.Args[0] == "sh" && out != "64\n" {
				t.Errorf("ulimit -n: %q", out)
			} else if b.Spec.Process.Args[0] != "sh" && (!strings.Contains(out, "then No file descriptors available") && !strings.Contains(out, "then Too many open files")) {
				t.Errorf("opened without end: %q", out)
			}
		},
	}})
}

func TestSeccomp(t *testing.T) {
	deny := func(names ...string) func(*box) {
		return func(b *box) {
			b.Spec.Linux.Seccomp = &specs.LinuxSeccomp{
				DefaultAction: specs.ActAllow,
				Syscalls:      []specs.LinuxSyscall{{Names: names, Action: specs.ActErrno}},
			}
		}
	}
	rules(t, []rule{
		{
			name: "a denied call fails", spec: deny("mkdir", "mkdirat"),
			native: []string{"sh", "-c", "busybox mkdir /made"},
			wasm:   []string{"mkdir", "/made"},
			exit:   1,
			fails:  []string{"Operation not permitted"},
		},
		{
			name: "the others work", spec: deny("mkdir", "mkdirat"),
			native: []string{"echo", "hello"},
			wasm:   []string{"hello"},
			says:   []string{"hello"},
		},
		{
			// Older profiles do not know it: files must open without it.
			name: "openat2 is refused", spec: deny("openat2"),
			wasm: []string{"write", "/made"},
			says: []string{"made: written"},
		},
	})
}

func TestIDMappedMount(t *testing.T) {
	if rt.name != "runw" {
		t.Skipf("RUNTIME=%s: older than id-mapped mounts", rt.name)
	}
	rules(t, []rule{{
		name: "owner is shifted",
		spec: func(b *box) {
			file := b.write("volume/mine", "shifted")
			must(b.t, os.Chown(file, 0, 0))
			must(b.t, os.Chmod(file, 0o400))
			b.as(5000, 5000)
			b.Spec.Mounts = append(b.Spec.Mounts, specs.Mount{
				Type: "bind", Source: filepath.Join(b.dir, "volume"), Destination: "/volume", Options: []string{"bind", "idmap"},
				UIDMappings: []specs.LinuxIDMapping{{ContainerID: 0, HostID: 5000, Size: 1000}},
				GIDMappings: []specs.LinuxIDMapping{{ContainerID: 0, HostID: 5000, Size: 1000}},
			})
		},
		native: []string{"cat", "/volume/mine"},
		wasm:   []string{"read", "/volume/mine"},
		says:   []string{"shifted"},
		unable: func() string {
			attr := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: ^uint64(0)}
			if err := unix.MountSetattr(-1, "", unix.AT_EMPTY_PATH, attr); err == unix.ENOSYS {
				return "the kernel has no mount_setattr"
			}
			return ""
		},
	}})
}
