package aot

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// defaultMaxSize bounds a store of which nobody said how large it may be, in
// bytes, together with a tenth of the file system.
const defaultMaxSize = 10 << 30

// PruneArgs says which entries go. An entry goes if any rule says so; without
// rules only what killed writers left behind does.
type PruneArgs struct {
	// All removes every entry.
	All bool
	// Stale removes the entries that no engine in this binary can use.
	Stale bool
	// MaxAge and UnusedFor remove entries made or last used longer ago; 0 is no
	// rule. An entry that was never used counts from when it was made.
	MaxAge, UnusedFor time.Duration
	// MaxSize removes the least recently used entries until the others have no
	// more bytes than that; a negative number is no rule.
	MaxSize int64
	// Engine, a name, leaves the entries of other engines alone and uncounted.
	Engine string
	// DryRun only says what would go.
	DryRun bool
}

// Pruned is what Prune did.
type Pruned struct {
	// Removed are the entries that are gone, Bytes their size.
	Removed []Entry
	Bytes   int64
	// Busy are entries that were left because somebody is making them anew.
	Busy []Entry
	// Leftovers counts what killed writers had left.
	Leftovers int
}

// Prune removes entries. Containers that run keep what they have: they hold
// the files open. The error says what could not be read or removed.
func (s *Store) Prune(a PruneArgs) (*Pruned, error) {
	all, err := s.List()
	var failed []error
	if err != nil {
		failed = append(failed, err)
	}
	out := &Pruned{}
	gone := a.choose(all, time.Now())
	err = s.eachShelf(func(sh *shelf) error {
		if a.Engine != "" && !strings.HasPrefix(sh.fingerprint, a.Engine+"-") {
			return nil
		}
		for _, e := range gone {
			if e.Fingerprint != sh.fingerprint {
				continue
			}
			if err := sh.discard(e, a.DryRun, out); err != nil {
				failed = append(failed, err)
			}
		}
		if !a.DryRun {
			out.Leftovers += sh.sweep("") + sh.sweepUses()
			sh.removeEmpty()
		}
		return nil
	})
	if err != nil {
		failed = append(failed, err)
	}
	return out, joined(failed)
}

// choose applies the rules to all entries, the most recently used first, and
// gives those that go, the least recently used first.
func (a *PruneArgs) choose(all []Entry, now time.Time) []Entry {
	var gone, rest []Entry
	var size int64
	for _, e := range all {
		switch {
		case a.Engine != "" && e.Engine != a.Engine:
		case a.All, a.Stale && e.Stale,
			a.MaxAge > 0 && now.Sub(e.Created) > a.MaxAge,
			a.UnusedFor > 0 && now.Sub(e.touched()) > a.UnusedFor:
			gone = append(gone, e)
		default:
			rest = append(rest, e)
			size += e.Size
		}
	}
	for a.MaxSize >= 0 && size > a.MaxSize {
		last := len(rest) - 1
		size -= rest[last].Size
		gone, rest = append(gone, rest[last]), rest[:last]
	}
	slices.SortStableFunc(gone, func(a, b Entry) int { return a.touched().Compare(b.touched()) })
	return gone
}

// discard removes one entry unless somebody holds its lock.
func (s *shelf) discard(e Entry, dry bool, out *Pruned) error {
	unlock, err := s.tryLock(e.Digest)
	if err != nil {
		return err
	}
	if unlock == nil {
		out.Busy = append(out.Busy, e)
		return nil
	}
	defer unlock()
	if !dry {
		if err := s.remove(e.Digest); err != nil {
			return err
		}
		_ = s.remove(e.Digest + usesSuffix)
	}
	out.Removed = append(out.Removed, e)
	out.Bytes += e.Size
	return nil
}

// sweepUses removes counts of entries that are gone.
func (s *shelf) sweepUses() (swept int) {
	for _, n := range s.names() {
		entry, ok := strings.CutSuffix(n, usesSuffix)
		if !ok {
			continue
		}
		unlock, _ := s.tryLock(entry)
		if unlock == nil {
			continue
		}
		var st unix.Stat_t
		if errors.Is(unix.Fstatat(s.fd(), entry, &st, unix.AT_SYMLINK_NOFOLLOW), unix.ENOENT) && s.remove(n) == nil {
			swept++
		}
		unlock()
	}
	return swept
}

// removeEmpty removes the directory of an engine that is not linked in, once
// nothing is in it.
func (s *shelf) removeEmpty() {
	if engine, _, _ := strings.Cut(s.fingerprint, "-"); !current(engine, s.fingerprint) {
		_ = unix.Unlinkat(int(s.store.dir.Fd()), s.fingerprint, unix.AT_REMOVEDIR)
	}
}

// Limit is how many bytes the store may have; negative is no bound.
func (s *Store) Limit() int64 {
	if s.MaxSize != 0 {
		return s.MaxSize
	}
	var fs unix.Statfs_t
	if unix.Fstatfs(int(s.dir.Fd()), &fs) != nil {
		return defaultMaxSize
	}
	return min(defaultMaxSize, int64(fs.Blocks)/10*int64(fs.Bsize)) //nolint:unconvert // the type differs between processors
}

// bound removes the least recently used entries if the store has become too
// large, down to nine tenths, so that not each new entry has to. The one that
// was just published stays.
func (s *Store) bound(fingerprint string, digest [32]byte) {
	limit := s.Limit()
	if limit < 0 {
		return
	}
	all, _ := s.List()
	keep := fmt.Sprintf("%x", digest)
	total := int64(0)
	for _, e := range all {
		total += e.Size
	}
	if total <= limit {
		return
	}
	limit = limit / 10 * 9
	all = slices.DeleteFunc(all, func(e Entry) bool {
		own := e.Fingerprint == fingerprint && e.Digest == keep
		if own {
			limit = max(limit-e.Size, 0)
		}
		return own
	})
	out := &Pruned{}
	for _, e := range (&PruneArgs{MaxSize: limit}).choose(all, time.Now()) {
		if sh, err := s.openShelf(e.Fingerprint); err == nil {
			_ = sh.discard(e, false, out)
			sh.close()
		}
	}
}
