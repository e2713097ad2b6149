package aot

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestVerify(t *testing.T) {
	wasm := wat(t, "exit7")
	for name, c := range map[string]struct {
		harm func(p string) error
		is   error
		says string
	}{
		"sound":          {func(string) error { return nil }, nil, ""},
		"a flipped bit":  {func(p string) error { return flipByte(p, 5) }, ErrDamaged, "wrong checksum"},
		"cut":            {func(p string) error { return os.Truncate(p, 100) }, ErrDamaged, "too short"},
		"empty":          {func(p string) error { return os.Truncate(p, 0) }, ErrDamaged, "empty"},
		"another's":      {func(p string) error { return os.Rename(p, filepath.Join(filepath.Dir(p), fakeDigest(1))) }, ErrStale, "made for module"},
		"symlink":        {func(p string) error { return errors.Join(os.Rename(p, p+usesSuffix), os.Symlink("/etc/passwd", p)) }, ErrDamaged, "symbolic link"},
		"fifo":           {func(p string) error { return errors.Join(os.Remove(p), unix.Mkfifo(p, 0o600)) }, ErrDamaged, "not a regular file"},
		"directory":      {func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o700)) }, ErrDamaged, "not a regular file"},
		"hard link":      {func(p string) error { return os.Link(p, filepath.Join(filepath.Dir(p), "../../x")) }, ErrDamaged, "2 links"},
		"open to others": {func(p string) error { return os.Chmod(p, 0o640) }, ErrDamaged, "accessible to others"},
		"foreign name":   {func(p string) error { return os.Rename(p, p[:len(p)-1]) }, fs.ErrInvalid, "does not belong"},
	} {
		t.Run(name, func(t *testing.T) {
			s := testStore(t)
			s.settle = -time.Hour // earlier checks are remembered, and not believed
			ensure(t, s, wasm)
			entries, _ := leftovers(t, s)
			if err := c.harm(entries[0]); err != nil {
				t.Fatal(err)
			}
			var bad []Checked
			collect := func(r Checked) {
				if r.Err != nil && strings.Contains(r.Path, "/") {
					bad = append(bad, r)
				}
			}
			if err := s.Verify(false, collect); err != nil {
				t.Fatal(err)
			}
			if c.is == nil {
				if len(bad) != 0 {
					t.Errorf("a sound store: %v", bad)
				}
				return
			}
			if len(bad) != 1 || !errors.Is(bad[0].Err, c.is) || !strings.Contains(bad[0].Err.Error(), c.says) || bad[0].Removed {
				t.Errorf("got %v, want %q", bad, c.says)
			}
			bad = nil
			if err := s.Verify(true, collect); err != nil || len(bad) != 1 || !bad[0].Removed {
				t.Errorf("removing: %v, %v", bad, err)
			}
			bad = nil
			if err := s.Verify(false, collect); err != nil || len(bad) != 0 {
				t.Errorf("after it: %v, %v", bad, err)
			}
		})
	}
}

// A disk that changes a block changes no times: a start believes what was
// found in this boot, Verify does not.
func TestVerifyBelievesNothing(t *testing.T) {
	s, wasm := keyStore(t), wat(t, "exit7")
	a := ensure(t, s, wasm)
	entries, _ := leftovers(t, s)
	if err := flipByte(entries[0], 5); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(entries[0])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	id, err := s.identify(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	s.remember(id.key(keyVerified), keyed{sha256.Sum256(wasm), uint64(len(wasm))})
	if b := ensure(t, s, wasm); !b.Cached || b.Digest != a.Digest {
		t.Errorf("the entry was checked again: %+v", b)
	}
	bad := 0
	if err := s.Verify(false, func(c Checked) {
		if c.Err != nil {
			bad++
		}
	}); err != nil || bad != 1 {
		t.Errorf("%d bad entries, %v; want 1", bad, err)
	}
}

// What was found of an entry is noted like what was found of a module.
func TestVerifiedIsNoted(t *testing.T) {
	for settle, want := range map[time.Duration]bool{time.Hour: false, -time.Hour: true} {
		s, wasm := keyStore(t), wat(t, "exit7")
		s.settle = settle
		a := ensure(t, s, wasm)
		ensure(t, s, wasm)
		entries, _ := leftovers(t, s)
		f, err := os.Open(entries[0])
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		id, err := s.identify(int(f.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		k, ok := s.recall(id.key(keyVerified))
		if ok != want || ok && fmt.Sprintf("%x", k.digest) != a.Digest {
			t.Errorf("changed %v ago: noted is %v as %x", settle, ok, k.digest)
		}
	}
}
