package hostfuncs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestNew lays out the guest's descriptors: stdio, inherited, preopens.
func TestNew(t *testing.T) {
	before := openFDs(t)
	var p, q [2]int
	for _, pipe := range []*[2]int{&p, &q} {
		if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
	}
	h, err := New(Config{
		Stdio: [3]int{p[0], -1, p[1]}, Inherited: []int{q[0], q[1]},
		Preopens: []Preopen{{Name: "/", Path: "/"}, {Name: ".", Path: t.TempDir(), ReadOnly: true}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct {
		host              int
		shared, inherited bool
		preopen           string
	}{
		{p[0], true, false, ""}, {-1, false, false, ""}, {p[1], true, false, ""},
		{q[0], true, true, ""}, {q[1], true, true, ""},
		{0, false, false, "/"}, {0, false, false, "."},
	} {
		e, errno := h.files.get(uint32(i))
		if errno != errnoSuccess {
			if want.host >= 0 {
				t.Errorf("fd %d: %s", i, errno)
			}
			continue
		}
		if want.host != 0 && e.fd != want.host || e.shared != want.shared ||
			e.inherited != want.inherited || e.name != want.preopen || e.preopen != (want.preopen != "") {
			t.Errorf("fd %d is %+v", i, *e)
		}
	}
	if len(h.files.entries) != 7 {
		t.Errorf("%d entries, want 7", len(h.files.entries))
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	if after := openFDs(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

// TestNewFails leaves the caller's descriptors open and nothing else.
func TestNewFails(t *testing.T) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(p[0])
	defer unix.Close(p[1])
	none := [3]int{-1, -1, -1}
	missing := filepath.Join(t.TempDir(), "missing")
	before := openFDs(t)
	for _, c := range []struct {
		name   string
		config Config
		want   string
		is     error
	}{
		{"preopen", Config{Stdio: none, Inherited: p[:1], Preopens: []Preopen{{Name: "x", Path: "/"}, {Name: "/data", Path: missing}}},
			`preopen "/data": no such file or directory`, unix.ENOENT},
		{"no descriptor", Config{Stdio: [3]int{p[0], 1 << 20, -1}}, "guest fd 1: bad file descriptor", unix.EBADF},
		{"gap", Config{Stdio: none, Inherited: []int{p[0], -1}}, "guest fd 4: bad file descriptor", unix.EBADF},
		{"twice", Config{Stdio: [3]int{-1, p[1], p[1]}}, "", unix.EINVAL},
		{"small table", Config{Stdio: none, Inherited: p[:], MaxFDs: 4},
			"5 descriptors for a table of 4: too many open files", unix.EMFILE},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := New(c.config)
			if !errors.Is(err, c.is) || c.want != "" && err.Error() != c.want {
				t.Errorf("New: %v, want %s", err, c.want)
			}
			if after := openFDs(t); after != before {
				t.Errorf("%d descriptors before, %d after", before, after)
			}
		})
	}
}

// TestCloseStdio runs itself as a child that gives its own stdio to a guest,
// which closes it and opens files: none may get what the process prints.
func TestCloseStdio(t *testing.T) {
	const dirVar = "HOSTFUNCS_STDIO_CHILD"
	dir := os.Getenv(dirVar)
	if dir == "" {
		dir = t.TempDir()
		cmd := exec.Command(os.Args[0], "-test.run=^TestCloseStdio$")
		cmd.Env = append(os.Environ(), dirVar+"="+dir)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		for _, name := range []string{"0", "1", "2"} {
			if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != "guest" {
				t.Errorf("file %s holds %q, %v", name, got, err)
			}
		}
		return
	}
	g := newGuest(t, Config{Stdio: [3]int{0, 1, 2}, Preopens: []Preopen{{Name: "/", Path: dir}}})
	n := g.alloc(4)
	for fd := range uint64(3) {
		g.must("fd_close", fd)
		name, length := g.put(fmt.Sprint(fd))
		g.must("path_open", 3, 0, name, length, oflagCreat, rightFdWrite, 0, 0, n)
		if got := g.u32(n); got != uint32(fd) {
			t.Errorf("the guest's number is %d, want %d", got, fd)
		}
		if _, err := unix.Write(int(fd), []byte("engine")); err != unix.EBADF {
			t.Errorf("writing to the engine's %d: %v", fd, err)
		}
		iov, count := g.iovec(g.put("guest"))
		g.must("fd_write", fd, iov, count, n)
	}
	if t.Failed() {
		os.Exit(1) // there is nowhere left to print to
	}
}
