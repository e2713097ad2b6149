package aot

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Checked is one name in the store and what is wrong with it.
type Checked struct {
	// Path is relative to the store's directory.
	Path string
	// Err is nil, or wraps ErrDamaged, ErrStale or fs.ErrInvalid (a file that
	// does not belong there).
	Err error
	// Removed tells that it is gone.
	Removed bool
}

// Verify reads all entries and reports each, by its header and all checksums,
// without use of what earlier checks have found. With remove it removes the bad
// ones. The error says what could not be read or removed.
func (s *Store) Verify(remove bool, report func(Checked)) error {
	var failed []error
	for _, n := range namesIn(s.dir) {
		var st unix.Stat_t
		err := unix.Fstatat(int(s.dir.Fd()), n, &st, unix.AT_SYMLINK_NOFOLLOW)
		if err != nil || n == keysName || st.Mode&unix.S_IFMT == unix.S_IFDIR {
			continue
		}
		c := Checked{Path: n, Err: fmt.Errorf("%w: does not belong into the store", fs.ErrInvalid)}
		if remove {
			err = unix.Unlinkat(int(s.dir.Fd()), n, 0)
			c.Removed = err == nil
		}
		report(c)
		failed = appendError(failed, err)
	}
	err := s.eachShelf(func(sh *shelf) error {
		sh.thorough = true
		names := sh.names()
		slices.Sort(names)
		for _, n := range names {
			failed = appendError(failed, sh.verify(n, remove, report))
		}
		return nil
	})
	return joined(appendError(failed, err))
}

func (s *shelf) verify(name string, remove bool, report func(Checked)) error {
	for _, suffix := range []string{lockSuffix, tempSuffix, usesSuffix} {
		if entry, ok := strings.CutSuffix(name, suffix); ok && isDigest(entry) {
			return nil // see sweep
		}
	}
	c := Checked{Path: s.fingerprint + "/" + name}
	if isDigest(name) {
		c.Err = s.verifyEntry(name)
	} else {
		c.Err = fmt.Errorf("%w: does not belong into the store", fs.ErrInvalid)
	}
	if errors.Is(c.Err, fs.ErrNotExist) {
		return nil // evicted meanwhile
	}
	var failed error
	if c.Err != nil && remove {
		failed = s.removeBad(name, &c)
	}
	report(c)
	return failed
}

func (s *shelf) verifyEntry(name string) error {
	digest, err := hex.DecodeString(name)
	if err != nil {
		return err
	}
	f, err := s.openEntry(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return s.check(f, [32]byte(digest), nil)
}

// removeBad looks again under the lock: the entry may have been made anew.
func (s *shelf) removeBad(name string, c *Checked) error {
	unlock, err := s.tryLock(name)
	if unlock == nil || err != nil {
		return err
	}
	defer unlock()
	if isDigest(name) {
		if c.Err = s.verifyEntry(name); c.Err == nil {
			return nil
		}
	}
	err = s.remove(name)
	c.Removed = err == nil
	return err
}
