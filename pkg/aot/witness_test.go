package aot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func flipByte(path string, at int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	b := []byte{0}
	if _, err := f.ReadAt(b, at); err != nil {
		return err
	}
	b[0] ^= 1
	_, err = f.WriteAt(b, at)
	return err
}

// keyStore is a store that notes files down at once, or a skipped test.
func keyStore(t testing.TB) *Store {
	t.Helper()
	s := testStore(t)
	if _, err := s.home(); err != nil {
		t.Skipf("%s is on a file system without keys: %v", s.dir.Name(), err)
	}
	s.settle = -time.Hour
	return s
}

func moduleFile(t testing.TB, wasm []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "m.wasm")
	if err := os.WriteFile(path, wasm, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// start is a start of the module in a file as cmd/runw does it: it gives the
// digest, and whether the file was not read.
func start(t testing.TB, s *Store, path string) (digest string, known bool, info *Info) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := s.Witness(f, false)
	defer w.Close()
	engine := testEngines()[0]
	if r := w.Recall(RecallArgs{Engine: engine}); r != nil {
		r.Artifact.File.Close()
		return r.Artifact.Digest, true, r.Info
	}
	wasm, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	a, err := Ensure(context.Background(), EnsureArgs{Wasm: wasm, Engine: engine, Store: s, Witness: w, Warn: noWarn(t)})
	if err != nil {
		t.Fatal(err)
	}
	a.File.Close()
	return a.Digest, false, nil
}

// Two modules of one length.
func alikeModules(t *testing.T) (one, two []byte) {
	one = watText(t, `(module (import "a" "f" (func (param i32))) (memory (export "memory") 1 5) (func (export "_start") i32.const 1 drop))`)
	two = bytes.Replace(one, []byte{0x41, 1}, []byte{0x41, 2}, 1)
	if len(one) != len(two) || bytes.Equal(one, two) {
		t.Fatal("not the modules wanted")
	}
	return one, two
}

func TestRecall(t *testing.T) {
	s := keyStore(t)
	one, _ := alikeModules(t)
	path := moduleFile(t, one)
	first, known, _ := start(t, s, path)
	if known {
		t.Error("known before it was ever seen")
	}
	second, known, info := start(t, s, path)
	if !known || first != second {
		t.Errorf("second start: known %v, digest %s and then %s", known, first, second)
	}
	want, err := Inspect(one)
	if err != nil || !reflect.DeepEqual(info, want) {
		t.Errorf("info %+v, want %+v (%v)", info, want, err)
	}
	// The entry is gone: the module is read again.
	if _, err := s.Prune(PruneArgs{All: true, MaxSize: -1}); err != nil {
		t.Fatal(err)
	}
	if _, known, _ := start(t, s, path); known {
		t.Error("known without an entry")
	}
	if _, known, _ := start(t, s, path); !known {
		t.Error("not known after the entry was made anew")
	}
}

// Whatever changes a file's content changes its identity.
func TestRecallNoticesChanges(t *testing.T) {
	one, two := alikeModules(t)
	overwrite := func(path string) error {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = f.WriteAt(two, 0)
		return err
	}
	for name, change := range map[string]func(path string) error{
		"written in place": overwrite,
		"written in place, times restored": func(path string) error {
			st, err := os.Stat(path)
			if err != nil {
				return err
			}
			return errors.Join(overwrite(path), os.Chtimes(path, st.ModTime(), st.ModTime()))
		},
		"replaced": func(path string) error {
			return errors.Join(os.WriteFile(path+"x", two, 0o600), os.Rename(path+"x", path))
		},
		"made anew":    func(path string) error { return errors.Join(os.Remove(path), os.WriteFile(path, two, 0o600)) },
		"truncated":    func(path string) error { return errors.Join(os.Truncate(path, 0), overwrite(path)) },
		"by a mapping": func(path string) error { return writeMapped(path, two) },
	} {
		t.Run(name, func(t *testing.T) {
			s := keyStore(t)
			path := moduleFile(t, one)
			before, _, _ := start(t, s, path)
			if _, known, _ := start(t, s, path); !known {
				t.Fatal("not known before the change")
			}
			nextTick(t, path)
			if err := change(path); err != nil {
				t.Fatal(err)
			}
			after, known, _ := start(t, s, path)
			if known || after == before {
				t.Errorf("after the change: known %v, digest %s, before it %s", known, after, before)
			}
		})
	}
}

// nextTick waits until a change would get another time than the file has:
// before Linux 6.13 the clock that stamps files ticks every 1 to 10 ms.
func nextTick(t *testing.T, path string) {
	t.Helper()
	waitFor(t, "the clock's next tick", func() bool {
		var st unix.Stat_t
		var now unix.Timespec
		if err := errors.Join(unix.Stat(path, &st), unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &now)); err != nil {
			t.Fatal(err)
		}
		return now.Nano() > st.Ctim.Nano()
	})
}

func mapWritable(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
}

func writeMapped(path string, content []byte) error {
	m, err := mapWritable(path)
	if err != nil {
		return err
	}
	if m[0] != content[0] { // a read comes first, as with a file that is patched
		return errors.New("not the module wanted")
	}
	copy(m, content)
	return unix.Munmap(m)
}

// While somebody could write without changing the times, nothing is noted.
func TestRecallIsNotNoted(t *testing.T) {
	one, _ := alikeModules(t)
	for name, prepare := range map[string]func(t *testing.T, s *Store, path string){
		"just changed": func(_ *testing.T, s *Store, _ string) { s.settle = time.Hour },
		"open for writing": func(t *testing.T, _ *Store, path string) {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
		},
		"mapped writable": func(t *testing.T, _ *Store, path string) {
			m, err := mapWritable(path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { unix.Munmap(m) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := keyStore(t)
			path := moduleFile(t, one)
			prepare(t, s, path)
			for range 2 {
				if _, known, _ := start(t, s, path); known {
					t.Error("the file was noted")
				}
			}
		})
	}
}

// A change between the look at the file and the end of the hashing.
func TestRecallChangedMeanwhile(t *testing.T) {
	s := keyStore(t)
	one, two := alikeModules(t)
	path := moduleFile(t, one)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := s.Witness(f, false)
	defer w.Close()
	if w.Recall(RecallArgs{}) != nil || !w.settled {
		t.Fatal("the file is not one that would be noted")
	}
	nextTick(t, path)
	if err := writeMapped(path, two); err != nil {
		t.Fatal(err)
	}
	a, err := Ensure(context.Background(), EnsureArgs{Wasm: one, Store: s, Witness: w, Warn: noWarn(t)})
	if err != nil {
		t.Fatal(err)
	}
	a.File.Close()
	if digest, known, _ := start(t, s, path); known || digest == a.Digest {
		t.Errorf("known %v as %s", known, digest)
	}
}

func TestNoWitness(t *testing.T) {
	s := keyStore(t)
	var none *Store
	f, err := os.Open(moduleFile(t, []byte(header)))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	proc, err := os.Open("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	defer proc.Close()
	memory, err := sealed(func(f *os.File) error { _, err := f.WriteString(header); return err })
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Close()
	for name, w := range map[string]*Witness{"no store": none.Witness(f, false), "proc": s.Witness(proc, false), "tmpfs": s.Witness(memory, false)} {
		if w != nil {
			t.Errorf("%s: a witness", name)
		}
		if w.Recall(RecallArgs{}) != nil {
			t.Errorf("%s: something recalled", name)
		}
		w.attest([32]byte{}, 0)
		w.Close()
	}
}

// An overlay that shows other bytes than the file it names has below.
func TestForgedOverlay(t *testing.T) {
	s := keyStore(t)
	one, two := alikeModules(t)
	path := moduleFile(t, one)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	w := s.Witness(f, false)
	w.overlay, w.file = true, os.NewFile(uintptr(fd), path) // as beneath leaves it
	defer w.Close()
	if w.Recall(RecallArgs{}) != nil || !w.settled {
		t.Fatal("the file is not one that would be noted")
	}
	w.attest(sha256.Sum256(two), uint64(len(two)))
	if k, ok := s.recall(w.id.key(keyModule)); ok {
		t.Errorf("noted as %x", k.digest)
	}
	w.attest(sha256.Sum256(one), uint64(len(one)))
	if _, ok := s.recall(w.id.key(keyModule)); !ok {
		t.Error("the true bytes were not noted")
	}
}

// nsEnv makes a test run its body, in a mount namespace of its own.
const nsEnv = "RUNW_AOT_NAMESPACE"

// inNamespace runs the calling test again in its own mount namespace. It is true
// there.
func inNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv(nsEnv) != "" {
		return true
	}
	needRoot(t)
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), nsEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	} else if bytes.Contains(out, []byte("--- SKIP")) {
		t.Skipf("%s", out)
	}
	return false
}

func TestRecallOnOverlay(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	s := keyStore(t)
	one, two := alikeModules(t)
	for _, options := range []string{"", ",metacopy=on", ",xino=off", ",index=on,nfs_export=on"} {
		dir := t.TempDir()
		for _, d := range []string{"lower", "upper", "work", "merged"} {
			if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		for _, p := range []string{"lower/m.wasm", "lower/other.wasm", "upper/own.wasm"} {
			if err := os.WriteFile(filepath.Join(dir, p), one, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		merged := filepath.Join(dir, "merged")
		layers := "lowerdir=" + dir + "/lower,upperdir=" + dir + "/upper,workdir=" + dir + "/work"
		if err := unix.Mount("overlay", merged, "overlay", 0, layers+options); err != nil {
			t.Fatalf("overlay%s: %v", options, err)
		}
		defer unix.Unmount(merged, unix.MNT_DETACH)
		m := filepath.Join(merged, "m.wasm")
		if f, err := os.Open(m); err != nil {
			t.Fatal(err)
		} else if _, err := s.beneath(int(f.Fd())); err != nil {
			t.Skipf("no AT_HANDLE_FID (Linux 6.6): %v", err)
		} else if s.Witness(f, true) != nil {
			t.Error("a witness for an overlay that a container may have made")
		}
		before, _, _ := start(t, s, m)
		for _, path := range []string{m, filepath.Join(dir, "lower/m.wasm")} {
			if _, known, _ := start(t, s, path); !known {
				t.Errorf("%s: %s is not known by the file below", options, path)
			}
		}
		own := filepath.Join(merged, "own.wasm")
		start(t, s, own)
		if _, known, _ := start(t, s, own); !known {
			t.Errorf("%s: a file of the upper layer is not known", options)
		}
		nextTick(t, m)
		// Written to, the file is another one, under the same inode number.
		st, err := os.Stat(m)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.WriteFile(m, two, 0o644), os.Chtimes(m, st.ModTime(), st.ModTime())); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if after, _, _ := start(t, s, m); after == before {
				t.Errorf("%s: the old module after a write", options)
			}
		}
		// A copy of the metadata alone, and then the data as well.
		other := filepath.Join(merged, "other.wasm")
		if err := os.Chmod(other, 0o600); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if digest, _, _ := start(t, s, other); digest != before {
				t.Errorf("%s: another module after chmod", options)
			}
		}
		if err := writeMapped(other, two); err != nil {
			t.Fatal(err)
		}
		if digest, _, _ := start(t, s, other); digest == before {
			t.Errorf("%s: the old module after a write by a mapping", options)
		}
	}
}
