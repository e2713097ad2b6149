package aot

import (
	"encoding/binary"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// The file <dir>/keys remembers digests by the identity of a file, so that the
// file need not be read: sets of keyWays slots, and an identity may stand in
// any slot of its set. Whatever is wrong with a slot makes it an empty one.
//
//	0  slot CRC   u32   CRC-32 of the rest of the slot
//	4  format     u32
//	8  recorded   u64   Unix time in ns; the oldest of a set is replaced
//	16 length     u64   of the module
//	24 identity   32    see identity.key
//	56 digest     32    sha256 of the module
const (
	keysName   = "keys"
	keysFormat = 1
	keySlot    = 128
	keyWays    = 8
	keySets    = 4096
)

// keyKind keeps the two uses of the table apart.
type keyKind byte

const (
	keyModule   keyKind = 1 + iota // a module's file: what is its digest?
	keyVerified                    // an entry's file: whose checksums were found right?
)

// keyed is what a slot says of an identity.
type keyed struct {
	digest [32]byte
	length uint64
}

// keyOffset is where the set of an identity begins.
func keyOffset(id [32]byte) int64 {
	return int64(binary.LittleEndian.Uint32(id[:])%keySets) * keyWays * keySlot
}

// lookKey finds an identity in the bytes of its set.
func lookKey(set []byte, id [32]byte) (keyed, bool) {
	for ; len(set) >= keySlot; set = set[keySlot:] {
		slot := set[:keySlot]
		if !soundSlot(slot) || [32]byte(slot[24:56]) != id {
			continue
		}
		return keyed{[32]byte(slot[56:88]), binary.LittleEndian.Uint64(slot[16:])}, true
	}
	return keyed{}, false
}

func soundSlot(slot []byte) bool {
	le := binary.LittleEndian
	return le.Uint32(slot[4:]) == keysFormat && le.Uint32(slot) == checksum(slot[4:])
}

func encodeSlot(id [32]byte, k keyed, now time.Time) []byte {
	slot := make([]byte, keySlot)
	le := binary.LittleEndian
	le.PutUint32(slot[4:], keysFormat)
	le.PutUint64(slot[8:], uint64(now.UnixNano()))
	le.PutUint64(slot[16:], k.length)
	copy(slot[24:], id[:])
	copy(slot[56:], k.digest[:])
	le.PutUint32(slot, checksum(slot[4:]))
	return slot
}

// victim picks the slot of a set to write an identity to: its own, an empty or
// damaged one, or the one recorded first.
func victim(set []byte, id [32]byte) int {
	best, oldest := 0, ^uint64(0)
	for i := range keyWays {
		age := uint64(0)
		if at := i * keySlot; len(set) >= at+keySlot && soundSlot(set[at:at+keySlot]) {
			slot := set[at : at+keySlot]
			if [32]byte(slot[24:56]) == id {
				return i
			}
			age = binary.LittleEndian.Uint64(slot[8:])
		}
		if age < oldest {
			best, oldest = i, age
		}
	}
	return best
}

// openKeys opens the table if it is a file of ours alone, as an entry must be.
func (s *Store) openKeys(flags int) (*os.File, error) {
	fd, err := unix.Openat(int(s.dir.Fd()), keysName, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), s.dir.Name()+"/"+keysName)
	if _, err := checkOwn(fd); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// recall looks an identity up. Everything that can go wrong is a miss.
func (s *Store) recall(id [32]byte) (keyed, bool) {
	f, err := s.openKeys(unix.O_RDONLY)
	if err != nil {
		return keyed{}, false
	}
	defer f.Close()
	set := make([]byte, keyWays*keySlot)
	n, _ := f.ReadAt(set, keyOffset(id)) // less, beyond the end of a sparse table
	return lookKey(set[:n], id)
}

// remember writes an identity down if that is possible without waiting: a
// table that is being written to, is read-only or full costs the next start
// some time and nothing else.
func (s *Store) remember(id [32]byte, k keyed) {
	f, err := s.openKeys(unix.O_RDWR | unix.O_CREAT)
	if err != nil {
		return
	}
	defer f.Close() // and of the lock
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return
	}
	set := make([]byte, keyWays*keySlot)
	at := keyOffset(id)
	n, _ := f.ReadAt(set, at)
	_, _ = f.WriteAt(encodeSlot(id, k, time.Now()), at+int64(victim(set[:n], id))*keySlot)
}
