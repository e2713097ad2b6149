package aot

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Witness holds what a module's file looked like before it was read. With it
// Recall finds the artifact without reading the file, and Ensure notes the file
// down for the next start. A nil Witness, of a file on a file system that is
// not relied on, is valid and knows nothing.
type Witness struct {
	store   *Store
	file    *os.File // the file itself, or what lies below an overlay's
	overlay bool
	id      *identity
	settled bool // what is read from now on may be noted down
}

// Witness looks at the module's open file. It neither reads nor closes it.
// foreign means that a container may have mounted what the file lies on: an
// overlay of its own making can show any file under any identity.
func (s *Store) Witness(module *os.File, foreign bool) *Witness {
	if s == nil {
		return nil
	}
	var fs unix.Statfs_t
	if unix.Fstatfs(int(module.Fd()), &fs) != nil {
		return nil
	}
	w := &Witness{store: s, file: module, overlay: int64(fs.Type) == unix.OVERLAYFS_SUPER_MAGIC} //nolint:unconvert // the type differs between processors
	var err error
	if w.overlay {
		if foreign {
			return nil
		}
		if w.file, err = s.beneath(int(module.Fd())); err != nil {
			return nil
		}
	}
	if w.id, err = s.identify(int(w.file.Fd())); err != nil {
		w.Close()
		return nil
	}
	return w
}

// Close gives up what the witness itself opened.
func (w *Witness) Close() {
	if w != nil && w.overlay {
		w.file.Close()
	}
}

// Recalled is what the store knows of a module that was not read.
type Recalled struct {
	Artifact *Artifact
	// Info is that of the module, as Inspect would give it.
	Info *Info
}

// RecallArgs are those of EnsureArgs with the same names.
type RecallArgs struct {
	Engine       string
	AddressSpace uint64
	Warm         bool
}

// Recall finds the artifact by the file's identity. It gives nil where that is
// not known or the artifact is not there or not usable: then the module has to
// be read, after Recall and not before, and given to Ensure together with the
// Witness.
func (w *Witness) Recall(a RecallArgs) *Recalled {
	if w == nil {
		return nil
	}
	k, ok := w.store.recall(w.id.key(keyModule))
	if !ok {
		w.settle()
		return nil
	}
	e, err := pickFor(a.Engine, cmp.Or(a.AddressSpace, math.MaxUint64))
	if err != nil {
		return nil
	}
	r, err := w.store.recalled(e, k, a.Warm)
	if err != nil {
		return nil
	}
	return r
}

func (s *Store) recalled(e engine, k keyed, warm bool) (*Recalled, error) {
	fingerprint := e.fingerprint()
	if fingerprint == "" {
		return nil, os.ErrNotExist
	}
	shelf, err := s.shelf(fingerprint)
	if err != nil {
		return nil, err
	}
	defer shelf.close()
	var info *Info
	f, err := shelf.open(k.digest, func(a *artifact) (err error) {
		if a.length != k.length {
			return fmt.Errorf("%w: made for a module of %d bytes", ErrStale, a.length)
		}
		info, err = Inspect(a.part(partShell).data)
		return err
	})
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("%x", k.digest)
	if !warm {
		shelf.used(name)
	}
	if f, err = shielded(f); err != nil {
		return nil, err
	}
	return &Recalled{&Artifact{File: f, Engine: e.name(), Digest: name, Cached: true}, info}, nil
}

// settle finds out whether a later change of the file would show: nobody has
// it open for writing, or mapped, which a read lease makes sure of, and it has
// not changed for a while. Whoever opens it from here on changes its times.
func (w *Witness) settle() {
	now := time.Now()
	f, err := w.readable()
	if err != nil {
		return
	}
	defer f.Close()
	// A writer who comes in between waits for the lease to end, that is not at all.
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK); err != nil {
		return
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK); err != nil {
		return
	}
	id, err := w.store.identify(int(f.Fd()))
	w.settled = err == nil && id.settled(now, w.store.settle) && id.key(keyModule) == w.id.key(keyModule)
}

// readable opens the file anew: with an open file of its own, and for reading
// where the witness has an O_PATH descriptor.
func (w *Witness) readable() (*os.File, error) {
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", w.file.Fd()), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), w.file.Name()), nil
}

// attest notes down that the file holds the module with this digest, if it has
// not changed since before it was read.
func (w *Witness) attest(digest [32]byte, length uint64) {
	if w == nil || !w.settled || w.id.stat.Size != length {
		return
	}
	if w.overlay && !w.same(digest) {
		return
	}
	id, err := w.store.identify(int(w.file.Fd()))
	if err != nil || id.key(keyModule) != w.id.key(keyModule) {
		return
	}
	w.store.remember(w.id.key(keyModule), keyed{digest, length})
}

// same reads the file below the overlay: what the overlay showed has to be its
// content.
func (w *Witness) same(digest [32]byte) bool {
	f, err := w.readable()
	if err != nil {
		return false
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return err == nil && bytes.Equal(h.Sum(nil), digest[:])
}
