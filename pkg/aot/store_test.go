package aot

import (
	"bytes"
	"context"
	"errors"
	"math/rand"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// leftovers lists what is in the store beside whole entries.
func leftovers(t *testing.T, s *Store) (entries, rest []string) {
	t.Helper()
	filepath.WalkDir(s.dir.Name(), func(p string, d os.DirEntry, err error) error {
		if err != nil {
			t.Error(err)
		} else if n := d.Name(); !d.IsDir() && len(n) == 64 {
			entries = append(entries, p)
		} else if !d.IsDir() && n != keysName && !strings.HasSuffix(n, usesSuffix) {
			rest = append(rest, p)
		}
		return nil
	})
	return
}

func TestEnsureKeeps(t *testing.T) {
	s, wasm := testStore(t), wat(t, "exit7")
	first := ensure(t, s, wasm)
	second := ensure(t, s, wasm)
	if first.Cached || !second.Cached {
		t.Errorf("cached: %v, %v; want false, true", first.Cached, second.Cached)
	}
	entries, rest := leftovers(t, s)
	if len(entries) != 1 || filepath.Base(entries[0]) != first.Digest || len(rest) != 0 {
		t.Errorf("store holds %v and %v, want one entry %s", entries, rest, first.Digest)
	}
	if st, err := os.Stat(entries[0]); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("entry: %v, %v; want mode 0600", st.Mode(), err)
	}
}

// The engine process must not be able to write to what it was given, not even
// as root by way of /proc.
func TestArtifactCannotBeReopenedForWriting(t *testing.T) {
	wasm := wat(t, "exit7")
	for name, store := range map[string]*Store{"store": testStore(t), "memory": nil} {
		a := ensure(t, store, wasm)
		if fd, err := unix.Open("/proc/self/fd/"+strconv.Itoa(int(a.File.Fd())), unix.O_RDWR|unix.O_CLOEXEC, 0); err == nil {
			if _, err := unix.Write(fd, []byte{0}); err == nil {
				t.Errorf("%s: a byte was written", name)
			}
			unix.Close(fd)
		}
		if _, err := a.File.WriteAt([]byte{0}, 0); err == nil {
			t.Errorf("%s: the descriptor itself is writable", name)
		}
	}
}

func TestShieldedWithoutMounts(t *testing.T) {
	s := testStore(t)
	ensure(t, s, wat(t, "exit7"))
	entries, _ := leftovers(t, s)
	f, err := os.Open(entries[0])
	if err != nil {
		t.Fatal(err)
	}
	want, _ := os.ReadFile(entries[0])
	ro, err := readOnly(f)
	if err != nil && isRoot() {
		t.Logf("no read-only mounts here: %v", err)
	} else if err == nil {
		defer ro.Close()
		if fd, err := unix.Open("/proc/self/fd/"+strconv.Itoa(int(ro.Fd())), unix.O_RDWR, 0); !errors.Is(err, unix.EROFS) {
			unix.Close(fd)
			t.Errorf("reopening for writing: %v, want EROFS", err)
		}
	}
	m, err := sealedCopy(f)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	got := make([]byte, len(want))
	if _, err := m.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the sealed copy differs: %v", err)
	}
}

func TestEnsureRepairs(t *testing.T) {
	wasm := wat(t, "exit7")
	flip := func(at int) func(string) error {
		return func(p string) error {
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			if at < 0 {
				at += len(b)
			}
			b[at] ^= 1
			return os.WriteFile(p, b, 0o600)
		}
	}
	truncate := func(n int64) func(string) error { return func(p string) error { return os.Truncate(p, n) } }
	for name, harm := range map[string]func(string) error{
		"empty":          truncate(0),
		"no footer":      truncate(int64(os.Getpagesize())),
		"half a footer":  truncate(footerSize / 2),
		"one byte less":  func(p string) error { st, _ := os.Stat(p); return os.Truncate(p, st.Size()-1) },
		"one byte more":  func(p string) error { st, _ := os.Stat(p); return os.Truncate(p, st.Size()+1) },
		"magic":          flip(-footerSize),
		"format":         flip(8 - footerSize),
		"fingerprint":    flip(24 - footerSize),
		"part table":     flip(partTable + 8 - footerSize),
		"first part":     flip(3),
		"last byte":      flip(-1),
		"symlink":        func(p string) error { return errors.Join(os.Rename(p, p+"x"), os.Symlink(p+"x", p)) },
		"hard link":      func(p string) error { return os.Link(p, p+"x") },
		"directory":      func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o700)) },
		"fifo":           func(p string) error { return errors.Join(os.Remove(p), unix.Mkfifo(p, 0o600)) },
		"open to others": func(p string) error { return os.Chmod(p, 0o644) },
		"foreign": func(p string) error {
			if !isRoot() {
				return os.Remove(p)
			}
			return os.Chown(p, 12345, 12345)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := testStore(t)
			ensure(t, s, wasm)
			entries, _ := leftovers(t, s)
			if err := harm(entries[0]); err != nil {
				t.Fatal(err)
			}
			if a := ensure(t, s, wasm); a.Cached {
				t.Error("the damaged entry was used")
			}
			if a := ensure(t, s, wasm); !a.Cached {
				t.Error("the entry was not repaired")
			}
		})
	}
}

func TestEntryOfAnotherModule(t *testing.T) {
	s, one, two := testStore(t), wat(t, "exit7"), watText(t, `(module (func (export "_start")))`)
	a, b := ensure(t, s, one), ensure(t, s, two)
	entries, _ := leftovers(t, s)
	dir := filepath.Dir(entries[0])
	if err := os.Rename(dir+"/"+a.Digest, dir+"/"+b.Digest); err != nil {
		t.Fatal(err)
	}
	if b = ensure(t, s, two); b.Cached {
		t.Error("the other module's entry was used")
	}
	// The engine process checks again.
	warned := 0
	open(t, OpenArgs{Wasm: one, Artifact: b.File, Warn: func(err error) {
		if warned++; !errors.Is(err, ErrStale) {
			t.Errorf("got %v, want ErrStale", err)
		}
	}})
	if warned != 1 {
		t.Errorf("warned %d times, want once", warned)
	}
}

func TestStoreThatCannotBeWritten(t *testing.T) {
	needRoot(t)
	mod := filepath.Join(t.TempDir(), "m.wasm")
	if err := os.WriteFile(mod, wat(t, "exit7"), 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, says := range map[string]string{"tmpfs": "no space left", "readonly": "read-only file system"} {
		t.Run(mode, func(t *testing.T) {
			dir := t.TempDir() + "/s"
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			cmd := helperCommand(mode, "ensure", dir, mod)
			// Unshareflags makes the new namespace's mounts private.
			cmd.SysProcAttr.Unshareflags = syscall.CLONE_NEWNS
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if !strings.HasPrefix(string(out), "cached=false warned=1 native=true run=exit status 7 ") || !strings.Contains(string(out), says) {
				t.Errorf("got %q, want one warning with %q", out, says)
			}
		})
	}
}

// Where the code cannot be mapped executable it is copied, and where nothing
// can be executable the module is interpreted.
func TestNoExecutableMappings(t *testing.T) {
	mod := filepath.Join(t.TempDir(), "m.wasm")
	if err := os.WriteFile(mod, wat(t, "exit7"), 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, want := range map[string]string{
		"noexec": "cached=false warned=0 native=true run=exit status 7",
		"mdwe":   "cached=false warned=0 native=false run=exit status 7",
	} {
		t.Run(mode, func(t *testing.T) {
			dir := t.TempDir() + "/s"
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			cmd := helperCommand(mode, "ensure", dir, mod)
			if mode == "noexec" {
				needRoot(t)
				cmd.SysProcAttr.Unshareflags = syscall.CLONE_NEWNS
			}
			out, err := cmd.CombinedOutput()
			if err != nil && mode == "mdwe" && strings.Contains(string(out), "invalid argument") {
				t.Skip("PR_SET_MDWE needs Linux 6.3")
			}
			if err != nil || strings.TrimSpace(string(out)) != want {
				t.Errorf("got %q, %v; want %q", out, err, want)
			}
		})
	}
}

func TestOneCompilationForManyProcesses(t *testing.T) {
	s := testStore(t)
	mod := filepath.Join(t.TempDir(), "m.wasm")
	if err := os.WriteFile(mod, slowModule(t, 0), 0o600); err != nil {
		t.Fatal(err)
	}
	const n = 50
	outs := make([]string, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			out, err := helperCommand("ensure", s.dir.Name(), mod).CombinedOutput()
			if err != nil {
				t.Errorf("%v: %s", err, out)
			}
			outs[i] = string(out)
		})
	}
	wg.Wait()
	compiled := 0
	for _, o := range outs {
		switch strings.TrimSpace(o) {
		case "cached=false warned=0 native=true run=<nil>":
			compiled++
		case "cached=true warned=0 native=true run=<nil>":
		default:
			t.Errorf("process said %q", o)
		}
	}
	if compiled != 1 {
		t.Errorf("%d of %d processes compiled, want 1", compiled, n)
	}
	if entries, rest := leftovers(t, s); len(entries) != 1 || len(rest) != 0 {
		t.Errorf("store holds %v and %v, want one entry", entries, rest)
	}
}

// A writer killed at any moment leaves a store that gives the right artifact
// and that the next compilation cleans.
func TestKilledWriters(t *testing.T) {
	s := testStore(t)
	rnd := rand.New(rand.NewSource(1))
	for i := range 12 {
		wasm := slowModule(t, i)
		mod := filepath.Join(t.TempDir(), "m.wasm")
		if err := os.WriteFile(mod, wasm, 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := helperCommand("ensure", s.dir.Name(), mod)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if i%3 == 0 { // while it writes
			waitFor(t, "temporary file or entry", func() bool {
				entries, rest := leftovers(t, s)
				return len(rest) > 1 || len(entries) > i
			})
		} else {
			time.Sleep(time.Duration(rnd.Intn(150)) * time.Millisecond)
		}
		cmd.Process.Kill()
		cmd.Wait()
		a := ensure(t, s, wasm)
		if err := open(t, OpenArgs{Wasm: wasm, Artifact: a.File}).Run(context.Background(), RunArgs{}); err != nil {
			t.Error(err)
		}
	}
	// A compilation sweeps what writers of other modules left.
	shelf, err := s.shelf(linked()[0].fingerprint())
	if err != nil {
		t.Fatal(err)
	}
	defer shelf.close()
	dead := strings.Repeat("d", 64)
	for _, n := range []string{dead + tempSuffix, dead + lockSuffix, strings.Repeat("e", 64) + tempSuffix} {
		if err := os.WriteFile(filepath.Join(shelf.dir.Name(), n), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	live := strings.Repeat("f", 64)
	unlock, err := shelf.lock(context.Background(), live)
	if err != nil {
		t.Fatal(err)
	}
	ensure(t, s, wat(t, "exit7"))
	if _, rest := leftovers(t, s); len(rest) != 1 || !strings.HasSuffix(rest[0], live+lockSuffix) {
		t.Errorf("after a sweep: %v, want the live lock only", rest)
	}
	unlock()
	if _, rest := leftovers(t, s); len(rest) != 0 {
		t.Errorf("after the unlock: %v", rest)
	}
}

func TestLockWaits(t *testing.T) {
	s := testStore(t)
	shelf, err := s.shelf("x")
	if err != nil {
		t.Fatal(err)
	}
	defer shelf.close()
	unlock, err := shelf.lock(context.Background(), "e")
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	if _, err := shelf.lock(ctx, "e"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("second lock: %v, want a timeout", err)
	}
}
