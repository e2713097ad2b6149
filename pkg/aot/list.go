package aot

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Entry is one artifact in the store.
type Entry struct {
	// Digest is the module's sha256 in hexadecimal digits.
	Digest string `json:"digest"`
	// Engine is the engine's name, Fingerprint the directory: all that the code
	// depends on besides the module.
	Engine      string `json:"engine"`
	Fingerprint string `json:"fingerprint"`
	// Stale means that this binary has no engine of that fingerprint.
	Stale bool `json:"stale"`
	// Size is in bytes.
	Size int64 `json:"size"`
	// Uses counts the containers that got it; LastUse is zero if there was none.
	Uses    int64     `json:"uses"`
	LastUse time.Time `json:"lastUse,omitzero"`
	Created time.Time `json:"created"`
}

// touched is when the entry was last of use to anybody.
func (e *Entry) touched() time.Time {
	if e.LastUse.After(e.Created) {
		return e.LastUse
	}
	return e.Created
}

// List gives all entries, most recently used first. It looks at no content and
// leaves out what is no regular file; see Verify. The error says which
// directories could not be read; the entries of the others are there.
func (s *Store) List() ([]Entry, error) {
	var all []Entry
	err := s.eachShelf(func(sh *shelf) error {
		all = append(all, sh.list()...)
		return nil
	})
	slices.SortFunc(all, func(a, b Entry) int {
		if c := b.touched().Compare(a.touched()); c != 0 {
			return c
		}
		return strings.Compare(a.Fingerprint+a.Digest, b.Fingerprint+b.Digest)
	})
	return all, err
}

func (s *shelf) list() []Entry {
	engine, _, _ := strings.Cut(s.fingerprint, "-")
	stale := !current(engine, s.fingerprint)
	var out []Entry
	for _, n := range s.names() {
		var st unix.Stat_t
		if !isDigest(n) || unix.Fstatat(s.fd(), n, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
			continue
		}
		e := Entry{
			Digest: n, Engine: engine, Fingerprint: s.fingerprint, Stale: stale,
			Size: st.Size, Created: time.Unix(st.Mtim.Unix()),
		}
		e.Uses, e.LastUse = s.uses(n)
		out = append(out, e)
	}
	return out
}

func isDigest(name string) bool {
	_, err := hex.DecodeString(name)
	return err == nil && len(name) == 64 && strings.ToLower(name) == name
}

// current tells whether this binary could use what has that fingerprint. An
// engine that cannot make code right now (no executable memory) keeps all of its
// own.
func current(engine, fingerprint string) bool {
	for _, e := range linked() {
		if e.name() != engine {
			continue
		}
		here := e.fingerprint()
		if here == "" || here == fingerprint {
			return true
		}
		if c, ok := e.(confinable); ok && c.within(1).fingerprint() == fingerprint {
			return true
		}
	}
	return false
}

// eachShelf visits the directories of all fingerprints. One that cannot be
// opened, or is not ours alone, is skipped and part of the error.
func (s *Store) eachShelf(visit func(*shelf) error) error {
	var failed []error
	names := namesIn(s.dir)
	slices.Sort(names)
	for _, n := range names {
		var st unix.Stat_t
		if unix.Fstatat(int(s.dir.Fd()), n, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
			continue
		}
		sh, err := s.openShelf(n)
		if err == nil {
			err = visit(sh)
			sh.close()
		}
		if err != nil {
			failed = append(failed, err)
		}
	}
	return joined(failed)
}

func appendError(errs []error, err error) []error {
	if err == nil {
		return errs
	}
	return append(errs, err)
}

// joined makes one error, in one line, of several.
func joined(errs []error) error {
	switch len(errs) {
	case 0:
		return nil
	case 1:
		return errs[0]
	}
	return fmt.Errorf("%w (and %d more errors)", errs[0], len(errs)-1)
}
