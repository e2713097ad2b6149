package aot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Store keeps artifacts as <dir>/<engine fingerprint>/<sha256 of the module>.
// Beside an entry there are <sha256>.uses (usage.go) and, while somebody makes
// it or was killed making it, <sha256>.lock and <sha256>.tmp. <dir>/keys is the
// table of keys.go.
type Store struct {
	// MaxSize bounds the bytes of all entries together: whoever publishes one
	// removes the least recently used beyond it. 0 is a tenth of the file system
	// and at most 10 GiB; a negative number is no bound.
	MaxSize int64

	dir      *os.File
	settle   time.Duration
	homeOnce sync.Once
	homeIs   *home
	homeErr  error
}

const (
	lockSuffix = ".lock"
	tempSuffix = ".tmp"
)

// OpenStore opens the store in dir, an absolute path, and creates it with mode
// 0700 if there is none. It refuses (ErrUnsafeStore) a directory that does not
// belong to this user alone, for whoever writes to it runs native code in every
// container of this user.
func OpenStore(dir string) (*Store, error) {
	d, err := openPrivateDir(dir)
	if err != nil {
		return nil, fmt.Errorf("artifact store %q: %w", dir, err)
	}
	return &Store{dir: d, settle: settleTime}, nil
}

// Close closes the store; artifacts stay usable.
func (s *Store) Close() error { return s.dir.Close() }

// shelf is the directory of one engine fingerprint.
type shelf struct {
	store       *Store
	dir         *os.File
	fingerprint string
	thorough    bool // check all checksums, whatever earlier checks found
}

func (s *Store) shelf(fingerprint string) (*shelf, error) {
	d, err := privateSubdir(s.dir, fingerprint)
	if err != nil {
		return nil, err
	}
	return &shelf{store: s, dir: d, fingerprint: fingerprint}, nil
}

// openShelf is shelf for a directory that is there.
func (s *Store) openShelf(fingerprint string) (*shelf, error) {
	d, err := openSubdir(s.dir, fingerprint)
	if err != nil {
		return nil, err
	}
	return &shelf{store: s, dir: d, fingerprint: fingerprint}, nil
}

func (s *shelf) close() { s.dir.Close() }

func (s *shelf) fd() int { return int(s.dir.Fd()) }

// find opens and verifies an entry. The error is fs.ErrNotExist, ErrDamaged or
// ErrStale where compiling again helps.
func (s *shelf) find(digest [32]byte) (*os.File, error) { return s.open(digest, nil) }

// open is find; look, unless it is nil, is shown the artifact and can refuse it.
func (s *shelf) open(digest [32]byte, look func(*artifact) error) (*os.File, error) {
	name := fmt.Sprintf("%x", digest)
	f, err := s.openEntry(name)
	if err == nil {
		if err = s.check(f, digest, look); err == nil {
			return f, nil
		}
		f.Close()
	}
	return nil, fmt.Errorf("%s/%s: %w", s.dir.Name(), name, err)
}

func (s *shelf) openEntry(name string) (*os.File, error) {
	// O_NONBLOCK: opening a fifo must not wait for its other end.
	fd, err := unix.Openat(s.fd(), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ELOOP) {
		return nil, fmt.Errorf("%w: is a symbolic link", ErrDamaged)
	}
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	return os.NewFile(uintptr(fd), s.dir.Name()+"/"+name), nil
}

// checkOwn refuses a file that somebody else could write to.
func checkOwn(fd int) (st unix.Stat_t, err error) {
	if err := unix.Fstat(fd, &st); err != nil {
		return st, err
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return st, fmt.Errorf("%w: not a regular file", ErrDamaged)
	case st.Uid != uint32(os.Geteuid()):
		return st, fmt.Errorf("%w: belongs to uid %d", ErrDamaged, st.Uid)
	case st.Mode&0o077 != 0:
		return st, fmt.Errorf("%w: accessible to others (mode %04o)", ErrDamaged, st.Mode&0o7777)
	case st.Nlink > 1:
		return st, fmt.Errorf("%w: has %d links", ErrDamaged, st.Nlink)
	}
	return st, nil
}

// check verifies the checksums of an entry once per boot: reading all of it
// costs more than starting the module.
func (s *shelf) check(f *os.File, digest [32]byte, look func(*artifact) error) error {
	if _, err := checkOwn(int(f.Fd())); err != nil {
		return err
	}
	now := time.Now()
	id, _ := s.store.identify(int(f.Fd()))
	verified, flags := false, unix.MAP_POPULATE
	if id != nil && !s.thorough {
		k, ok := s.store.recall(id.key(keyVerified))
		verified = ok && k.digest == digest
	}
	if verified {
		flags = 0
	}
	m, err := mapFile(f, flags)
	if err != nil {
		return err
	}
	defer m.close()
	a, err := decodeArtifact(m.b)
	if err != nil {
		return err
	}
	if err := a.expect(s.fingerprint, digest); err != nil {
		return err
	}
	if !verified {
		if err := a.verify(); err != nil {
			return err
		}
		if id != nil && id.settled(now, s.store.settle) {
			s.store.remember(id.key(keyVerified), keyed{digest, a.length})
		}
	}
	if look != nil {
		return look(a)
	}
	return nil
}

// publish writes a as the entry of its digest, by way of a temporary file that
// only the holder of the digest's lock touches. Readers see all or nothing.
func (s *shelf) publish(a *artifact) error {
	name := fmt.Sprintf("%x", a.digest)
	temp := name + tempSuffix
	if err := s.remove(temp); err != nil {
		return err
	}
	fd, err := unix.Openat(s.fd(), temp, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("create %s/%s: %w", s.dir.Name(), temp, err)
	}
	f := os.NewFile(uintptr(fd), s.dir.Name()+"/"+temp)
	err = a.writeTo(f)
	if err == nil {
		err = f.Sync() // before the rename, or a crash leaves a whole name on half a file
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = unix.Renameat(s.fd(), temp, s.fd(), name)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s/%s: %w", s.dir.Name(), name, err), s.remove(temp))
	}
	return nil
}

// remove unlinks name if it is there, an empty directory too.
func (s *shelf) remove(name string) error {
	err := unix.Unlinkat(s.fd(), name, 0)
	if errors.Is(err, unix.EISDIR) {
		err = unix.Unlinkat(s.fd(), name, unix.AT_REMOVEDIR)
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove %s/%s: %w", s.dir.Name(), name, err)
	}
	return nil
}

// lock takes the lock of one entry, or waits for it until ctx ends. The lock
// dies with its holder. The lock file is removed by the holder before it lets
// go, so one that was waited for may be gone from the directory: only a lock
// on the file that is there now counts.
func (s *shelf) lock(ctx context.Context, entry string) (unlock func(), err error) {
	for wait := time.Millisecond; ; wait = min(2*wait, 20*time.Millisecond) {
		unlock, err := s.tryLock(entry)
		if unlock != nil || err != nil {
			return unlock, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(wait):
		}
	}
}

// tryLock returns nil, nil if somebody else has the lock.
func (s *shelf) tryLock(entry string) (unlock func(), err error) {
	name := entry + lockSuffix
	fd, err := unix.Openat(s.fd(), name, unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock %s/%s: %w", s.dir.Name(), name, err)
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		unix.Close(fd)
		if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, unix.EINTR) {
			return nil, nil
		}
		return nil, fmt.Errorf("lock %s/%s: %w", s.dir.Name(), name, err)
	}
	var mine, there unix.Stat_t
	if err := unix.Fstat(fd, &mine); err != nil {
		unix.Close(fd)
		return nil, err
	}
	if err := unix.Fstatat(s.fd(), name, &there, unix.AT_SYMLINK_NOFOLLOW); err != nil || mine.Ino != there.Ino || mine.Dev != there.Dev {
		unix.Close(fd)
		return nil, nil //nolint:nilerr // the name is gone or another file's: somebody else's lock
	}
	return func() {
		_ = unix.Unlinkat(s.fd(), name, 0)
		unix.Close(fd)
	}, nil
}

// names lists the directory.
func (s *shelf) names() []string { return namesIn(s.dir) }

func namesIn(dir *os.File) []string {
	fd, err := unix.Openat(int(dir.Fd()), ".", dirFlags, 0) // with an offset of its own
	if err != nil {
		return nil
	}
	d := os.NewFile(uintptr(fd), dir.Name())
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	return names
}

// sweep removes what killed writers left, and counts it. It runs before a
// compilation, which takes a thousand times longer. Whoever holds a lock is
// alive and skipped.
func (s *shelf) sweep(except string) (swept int) {
	for _, n := range s.names() {
		entry, temp := strings.CutSuffix(n, tempSuffix)
		if !temp {
			var lock bool
			if entry, lock = strings.CutSuffix(n, lockSuffix); !lock {
				continue
			}
		}
		if entry == except {
			continue
		}
		if unlock, _ := s.tryLock(entry); unlock != nil {
			_ = s.remove(entry + tempSuffix)
			unlock()
			swept++
		}
	}
	return swept
}
