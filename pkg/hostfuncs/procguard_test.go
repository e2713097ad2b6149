package hostfuncs

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// rootGuest holds the root of the machine, as a guest holds its container's.
func rootGuest(t testing.TB) *guest {
	t.Helper()
	return newGuest(t, Config{Preopens: []Preopen{{Name: "/", Path: "/"}}})
}

// refused checks that no function reaches anything at path. None of its calls
// would change something if the guard failed.
func (g *guest) refused(path string) {
	g.t.Helper()
	for _, a := range []openArgs{
		{path: path}, {path: path, follow: true}, {path: path, follow: true, rights: rightFdRead | rightFdWrite},
		{path: path, rights: rightFdReaddir, oflags: oflagDirectory},
	} {
		if fd, errno := g.pathOpen(a); errno == errnoSuccess {
			g.t.Errorf("path_open(%+v) works", a)
			g.must("fd_close", fd)
		}
	}
	for _, follow := range []bool{false, true} {
		if s, errno := g.stat(path, follow); errno == errnoSuccess {
			g.t.Errorf("stat %s (follow %t) = %+v", path, follow, s)
		}
	}
	if text, errno := g.readlink(path, 100); errno == errnoSuccess {
		g.t.Errorf("%s is a link to %q", path, text)
	}
	func() {
		defer g.scratch()()
		p, n := g.put(path)
		if errno := g.call("path_filestat_set_times", preFD, 0, p, n, 0, 0, 0); errno == errnoSuccess {
			g.t.Errorf("the times of %s were set", path)
		}
	}()
	if errno := g.link(path, true, "tmp/none/x"); errno == errnoSuccess {
		g.t.Errorf("%s was linked to", path)
	}
}

// processFiles is what must not be reached of a process.
func processFiles(process string) []string {
	paths := []string{process + "/"}
	for _, name := range []string{
		"mem", "fd", "fd/0", "fd/1", "fdinfo/0", "exe", "environ", "maps", "smaps", "root", "root/etc", "cwd",
		"cwd/procguard.go", "task", "cmdline", "status", "ns/mnt", "map_files", "syscall", "mountinfo", "oom_score_adj",
	} {
		paths = append(paths, process+"/"+name)
	}
	return paths
}

// TestProcGuard: the guest never reaches the engine, which is this process.
func TestProcGuard(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pid, tid := os.Getpid(), unix.Gettid()
	eachResolver(t, func(t *testing.T, mode openat2State) {
		g := rootGuest(t)
		g.fs.openat2 = mode
		g.fs.guard.load() // keeps a descriptor of its own
		before := openFDs(t)
		for _, process := range []string{
			"proc/self", "proc/thread-self", fmt.Sprint("proc/", pid), fmt.Sprint("proc/", tid),
			fmt.Sprintf("proc/%d/task/%d", pid, tid), fmt.Sprint("proc/", os.Getppid()), "proc/1",
			"proc/../proc/./self", "proc/sys/../self",
		} {
			for _, path := range processFiles(process) {
				g.refused(path)
			}
		}
		// Symlinks of the procfs itself, and an image's into it.
		dir := t.TempDir()
		hostSymlink(t, "/proc/self/environ", dir, "env")
		hostSymlink(t, "/proc/thread-self", dir, "me")
		for _, path := range []string{"proc/mounts", "proc/net/tcp", dir[1:] + "/env", dir[1:] + "/me/mem"} {
			if fd, errno := g.pathOpen(openArgs{path: path, follow: true, rights: rightFdRead}); errno != errnoAcces {
				t.Errorf("path_open %s = %d %s", path, fd, errno)
			}
		}
		// From an open directory of the procfs.
		// The first takes fd 0, which means the preopen in openArgs.
		first := g.mustOpen(openArgs{path: "."})
		proc := g.mustOpen(openArgs{path: "proc", rights: rightsDir, inherits: rightsInheriting})
		_, errno := g.pathOpen(openArgs{dir: proc, path: "self/mem", rights: rightFdRead})
		wantErrno(t, "self/mem from an open /proc", errno, errnoAcces)
		_, errno = g.pathOpen(openArgs{dir: proc, path: fmt.Sprint(pid), rights: rightFdReaddir})
		wantErrno(t, "the own directory from an open /proc", errno, errnoAcces)
		g.must("fd_close", proc)
		g.must("fd_close", first)
		if now := openFDs(t); now != before {
			t.Errorf("%d descriptors before, %d after", before, now)
		}
	})
}

// TestProcGuardPublic: the rest of the procfs is as for any program.
func TestProcGuardPublic(t *testing.T) {
	eachResolver(t, func(t *testing.T, mode openat2State) {
		g := rootGuest(t)
		g.fs.openat2 = mode
		for _, path := range []string{"proc/meminfo", "proc/cpuinfo", "proc/sys/kernel/ostype", "proc/uptime"} {
			fd := g.mustOpen(openArgs{path: path, follow: true, rights: rightFdRead})
			if s, errno := g.read(fd, 10); s == "" || errno != errnoSuccess {
				t.Errorf("%s reads %q, %s", path, s, errno)
			}
			g.must("fd_close", fd)
		}
		if s, errno := g.stat("proc/meminfo", true); s.kind != filetypeRegular || errno != errnoSuccess {
			t.Errorf("stat: %+v %s", s, errno)
		}
		// The link is a number that getpid gives natively.
		if s, errno := g.readlink("proc/self", 20); s != fmt.Sprint(os.Getpid()) || errno != errnoSuccess {
			t.Errorf("/proc/self is %q, %s", s, errno)
		}
		fd := g.mustOpen(openArgs{path: "proc", rights: rightFdReaddir})
		names := g.list(fd, 8192)
		for _, name := range []string{".", "..", "self", "meminfo", fmt.Sprint(os.Getpid())} {
			if _, ok := names[name]; !ok {
				t.Errorf("the listing has no %s", name)
			}
		}
	})
}

// TestProcGuardBlind: without its own procfs the guard cannot tell, and refuses.
func TestProcGuardBlind(t *testing.T) {
	g := rootGuest(t)
	g.fs.guard.close()
	_, errno := g.pathOpen(openArgs{path: "proc/meminfo", rights: rightFdRead})
	wantErrno(t, "a procfs that cannot be judged", errno, errnoAcces)
	g.fs.guard.devices = map[uint64]bool{}
	_, errno = g.pathOpen(openArgs{path: "proc/uptime", rights: rightFdRead})
	wantErrno(t, "the same without a mount table", errno, errnoAcces)
	_, errno = g.pathOpen(openArgs{path: "dev/null", rights: rightFdRead})
	wantErrno(t, "another file system", errno, errnoSuccess)
}

func TestProcGuardReadMounts(t *testing.T) {
	g := procGuard{roots: map[uint64]string{}, devices: map[uint64]bool{}}
	const table = `22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:21 / /proc rw shared:5 master:1 - proc proc rw
24 23 0:21 /sys /proc/sys ro - proc proc rw
25 22 0:21 /12/fd /mnt/with\040space rw - proc proc rw
26 22 0:30 / /tmp rw - tmpfs - rw
not a mount
27 22 x:y / /a rw - proc proc rw
`
	if err := g.readMounts(strings.NewReader(table)); err != nil {
		t.Fatal(err)
	}
	want := map[uint64]string{23: "/", 24: "/sys", 25: "/12/fd"}
	if fmt.Sprint(g.roots) != fmt.Sprint(want) {
		t.Errorf("roots are %v, want %v", g.roots, want)
	}
	for dev, proc := range map[uint64]bool{unix.Mkdev(0, 21): true, unix.Mkdev(0, 30): false, unix.Mkdev(8, 1): false} {
		if got, ok := g.devices[dev]; !ok || got != proc {
			t.Errorf("device %d: %t %t", dev, got, ok)
		}
	}
	for path, want := range map[string]bool{"/": false, "/1": true, "/1a": false, "/x/22/y": true, "/irq/": false, "": false} {
		if hasNumber(path) != want {
			t.Errorf("hasNumber(%q) is %t", path, !want)
		}
	}
}

const mountChild = "RUNW_TEST_MOUNT_CHILD"

// TestProcGuardMounts runs the test below in a mount namespace of its own.
func TestProcGuardMounts(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	// Not t.TempDir, which has a component of digits only.
	dir, err := os.MkdirTemp("", "procguard")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	cmd := exec.Command(os.Args[0], "-test.run=^TestProcGuardMountsChild$", "-test.v")
	cmd.Env = append(os.Environ(), mountChild+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Errorf("%v\n%s", err, out.Bytes())
	}
	if !bytes.Contains(out.Bytes(), []byte("--- PASS: TestProcGuardMountsChild")) {
		t.Errorf("the child did not run its test:\n%s", out.Bytes())
	}
}

// TestProcGuardMountsChild has pieces of a procfs mounted in many places.
func TestProcGuardMountsChild(t *testing.T) {
	dir := os.Getenv(mountChild)
	if dir == "" {
		t.Skip("only in the mount namespace that TestProcGuardMounts makes")
	}
	mount := func(source, target, fstype string, flags uintptr) {
		t.Helper()
		if err := unix.Mount(source, target, fstype, flags, ""); err != nil {
			t.Fatalf("mount %s on %s: %v", source, target, err)
		}
	}
	mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE)
	self := fmt.Sprint("/proc/", os.Getpid())
	for _, name := range []string{"me", "fd", "sys", "all", "a/p", "late", "t"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	hostFile(t, dir, "environ", "")
	mount(self, dir+"/me", "", unix.MS_BIND)
	mount(self+"/fd", dir+"/fd", "", unix.MS_BIND)
	mount(self+"/environ", dir+"/environ", "", unix.MS_BIND)
	mount("/proc/sys", dir+"/sys", "", unix.MS_BIND)
	mount("/proc", dir+"/all", "", unix.MS_BIND)
	mount("proc", dir+"/a/p", "proc", 0)
	eachResolver(t, func(t *testing.T, mode openat2State) {
		g := newGuest(t, Config{Preopens: []Preopen{{Name: "/", Path: dir}}})
		g.fs.openat2 = mode
		g.mustOpen(openArgs{path: "t"})
		for _, process := range []string{"me", "all/self", "a/p/self", "a/p" + strings.TrimPrefix(self, "/proc"), "a/p/thread-self"} {
			for _, path := range processFiles(process) {
				g.refused(path)
			}
		}
		for _, path := range []string{"environ", "fd/0", "fd"} {
			g.refused(path)
		}
		for _, path := range []string{"sys/kernel/ostype", "all/meminfo", "a/p/cpuinfo"} {
			_, errno := g.pathOpen(openArgs{path: path, rights: rightFdRead})
			wantErrno(t, path, errno, errnoSuccess)
		}
		// Renaming what a mount point is in must not change the answer: here
		// the path becomes one that looks like a name inside of the mount.
		for _, step := range [][2]string{{"a", "b"}} {
			wantErrno(t, "rename", g.rename(step[0], step[1]), errnoSuccess)
		}
		for _, path := range []string{"a", "a/p"} {
			wantErrno(t, "mkdir", g.onPath("path_create_directory", preFD, path), errnoSuccess)
		}
		wantErrno(t, "rename", g.rename("b", "a/p/sys"), errnoSuccess)
		for _, path := range processFiles("a/p/sys/p/self") {
			g.refused(path)
		}
		wantErrno(t, "rename back", g.rename("a/p/sys", "b"), errnoSuccess)
		wantErrno(t, "rmdir", g.onPath("path_remove_directory", preFD, "a/p"), errnoSuccess)
		wantErrno(t, "rmdir", g.onPath("path_remove_directory", preFD, "a"), errnoSuccess)
		wantErrno(t, "rename back", g.rename("b", "a"), errnoSuccess)
		// A mount that the table of the start does not have.
		mount(self, dir+"/late", "", unix.MS_BIND)
		g.refused("late/environ")
		if err := unix.Unmount(dir+"/late", 0); err != nil {
			t.Fatal(err)
		}
	})
}
