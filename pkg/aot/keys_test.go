package aot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// inSet makes identities of one set.
func inSet(n int) [32]byte {
	var id [32]byte
	binary.LittleEndian.PutUint32(id[:], 7)
	id[31] = byte(n)
	return id
}

func TestKeysRemember(t *testing.T) {
	s := testStore(t)
	for n := range keyWays + 3 {
		s.remember(inSet(n), keyed{[32]byte{byte(n)}, uint64(n)})
		if k, ok := s.recall(inSet(n)); !ok || k != (keyed{[32]byte{byte(n)}, uint64(n)}) {
			t.Fatalf("%d: recalled %v, %v", n, k, ok)
		}
	}
	for n := range keyWays + 3 {
		if _, ok := s.recall(inSet(n)); ok != (n >= 3) {
			t.Errorf("%d: recalled is %v: not the ones recorded first made room", n, ok)
		}
	}
	s.remember(inSet(5), keyed{[32]byte{99}, 99})
	if k, _ := s.recall(inSet(5)); k.length != 99 {
		t.Errorf("after a second time: %v", k)
	}
	if _, ok := s.recall(inSet(6)); !ok {
		t.Error("the second time took another one's place")
	}
}

func TestKeysDamaged(t *testing.T) {
	id := inSet(1)
	for name, harm := range map[string]func(p string) error{
		"empty":          func(p string) error { return os.Truncate(p, 0) },
		"cut":            func(p string) error { return os.Truncate(p, keyOffset(id)+100) },
		"zeros":          func(p string) error { return os.WriteFile(p, make([]byte, 4<<20), 0o600) },
		"ones":           func(p string) error { return os.WriteFile(p, bytes.Repeat([]byte{255}, 4<<20), 0o600) },
		"flipped":        func(p string) error { return flipByte(p, keyOffset(id)+60) },
		"other identity": func(p string) error { return flipByte(p, keyOffset(id)+30) },
		"open to others": func(p string) error { return os.Chmod(p, 0o666) },
		"hard link":      func(p string) error { return os.Link(p, p+"x") },
		"symlink":        func(p string) error { return errors.Join(os.Rename(p, p+"x"), os.Symlink(p+"x", p)) },
		"directory":      func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o700)) },
		"gone":           os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			s := testStore(t)
			s.remember(id, keyed{[32]byte{1}, 1})
			path := filepath.Join(s.dir.Name(), keysName)
			if err := harm(path); err != nil {
				t.Fatal(err)
			}
			if k, ok := s.recall(id); ok {
				t.Errorf("recalled %v", k)
			}
			s.remember(id, keyed{[32]byte{2}, 2}) // must not panic, may be in vain
			if k, ok := s.recall(id); ok && k.length != 2 {
				t.Errorf("recalled %v", k)
			}
		})
	}
}

// FuzzKeys: a set of the table with any content gives what a sound slot of
// that identity says, or nothing, and finds a place for a new slot.
func FuzzKeys(f *testing.F) {
	id := inSet(1)
	slot := encodeSlot(id, keyed{[32]byte{1}, 2}, time.Unix(1, 0))
	f.Add([]byte{}, id[:])
	f.Add(slot, id[:])
	f.Add(append(make([]byte, keySlot), slot...), id[:])
	f.Add(bytes.Repeat(slot, keyWays), bytes.Repeat([]byte{1}, 32))
	f.Fuzz(func(t *testing.T, set, raw []byte) {
		if len(raw) < 32 {
			return
		}
		id := [32]byte(raw)
		if k, ok := lookKey(set, id); ok {
			found := false
			for n := 0; n+keySlot <= len(set); n += keySlot {
				slot := set[n : n+keySlot]
				same := encodeSlot(id, k, time.Unix(0, int64(binary.LittleEndian.Uint64(slot[8:]))))
				found = found || bytes.Equal(slot[24:88], same[24:88]) && soundSlot(slot)
			}
			if !found {
				t.Fatalf("%x gave %v, which no slot says", id, k)
			}
		}
		n := victim(set, id)
		if n < 0 || n >= keyWays {
			t.Fatalf("slot %d", n)
		}
		full := make([]byte, keyWays*keySlot)
		copy(full, set)
		copy(full[n*keySlot:], encodeSlot(id, keyed{[32]byte{9}, 9}, time.Now()))
		if k, ok := lookKey(full, id); !ok || k.length != 9 && n == 0 {
			t.Fatalf("what was written is not found: %v %v", k, ok)
		}
	})
}

// FuzzOverlayHandle: the handle of an overlay comes from a file system that
// somebody else may have made.
func FuzzOverlayHandle(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\xfb\x1d\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x94\x48\x98\x00\x23\x43\xa1\x01"))
	f.Add([]byte("\x00\x00\x00\x00\xfb\xff\x00\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := overlayHandle(b)
		if err == nil && (h.Size() == 0 || !bytes.Contains(b, h.Bytes())) {
			t.Fatalf("%x gave %x", b, h.Bytes())
		}
	})
}
