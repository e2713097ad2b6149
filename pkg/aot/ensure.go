package aot

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
)

// Artifact is what the engine process needs besides the module.
type Artifact struct {
	// File is open for reading: a regular file of the store, or a sealed memfd.
	// It is nil where the engine makes no native code (an interpreter). The
	// caller closes it.
	File *os.File
	// Engine is the name to give to Open.
	Engine string
	// Digest is the module's sha256 in hexadecimal digits.
	Digest string
	// Cached tells that the store had it.
	Cached bool
}

// EnsureArgs says what to compile and where to keep it.
type EnsureArgs struct {
	Wasm []byte
	// Engine is a name, "" or "auto".
	Engine string
	// AddressSpace is the RLIMIT_AS in bytes under which the module will run; 0
	// is no limit.
	AddressSpace uint64
	// Store may be nil: then the artifact lives in a memfd only.
	Store *Store
	// Witness, if there is one, saw the file before Wasm was read from it.
	Witness *Witness
	// Warm means that nobody starts the module now: it counts as no use.
	Warm bool
	// Compiler has modules compiled elsewhere; nil is in this process.
	Compiler Compiler
	// Warn is called at most once, when the store could not be used and the
	// artifact lives in memory; may be nil.
	Warn func(error)
}

// Ensure finds the artifact of a module or compiles it. A module that does not
// validate, or that the engine cannot run, is an error: ErrNotWasm,
// ErrComponent, ErrMalformed, ErrUnsupported or the engine's message. A store
// that cannot be read or written is not: see EnsureArgs.Warn.
func Ensure(ctx context.Context, a EnsureArgs) (*Artifact, error) {
	e, err := pickFor(a.Engine, cmp.Or(a.AddressSpace, math.MaxUint64))
	if err != nil {
		return nil, err
	}
	if err := checkHeader(a.Wasm); err != nil {
		return nil, err // before hashing what is no module
	}
	m := &maker{engine: e, wasm: a.Wasm, digest: sha256.Sum256(a.Wasm), fingerprint: e.fingerprint(), warm: a.Warm}
	m.addressSpace, m.compiler = a.AddressSpace, a.Compiler
	defer m.close()
	out := &Artifact{Engine: e.name(), Digest: fmt.Sprintf("%x", m.digest)}
	if m.fingerprint == "" {
		_, err := m.make(ctx)
		return out, err
	}
	if a.Store != nil {
		var broken error
		out.File, out.Cached, broken = m.fromStore(ctx, a.Store)
		if broken == nil {
			out.File, broken = shielded(out.File)
		}
		if broken == nil {
			a.Witness.attest(m.digest, uint64(len(a.Wasm)))
			return out, nil
		}
		out.File, out.Cached = nil, false
		if m.failed != nil {
			return nil, m.failed
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if a.Warn != nil {
			a.Warn(fmt.Errorf("artifact store: %w; keeping native code in memory", broken))
		}
	}
	art, err := m.make(ctx)
	if err != nil {
		return nil, err
	}
	out.File, err = memoryFile(art)
	return out, err
}

// maker compiles one module at most once.
type maker struct {
	engine      engine
	wasm        []byte
	digest      [32]byte
	fingerprint string
	warm        bool

	addressSpace uint64
	compiler     Compiler

	made   *artifact
	free   func() // of what made lies in; may be nil
	failed error  // the module's fault, not the store's
}

func (m *maker) close() {
	if m.free != nil {
		m.free()
	}
}

func (m *maker) make(ctx context.Context) (*artifact, error) {
	if m.made != nil || m.failed != nil {
		return m.made, m.failed
	}
	m.made, m.failed = m.compile(ctx)
	return m.made, m.failed
}

func (m *maker) compile(ctx context.Context) (a *artifact, err error) {
	if m.compiler != nil {
		a, m.free, err = m.compileOutside(ctx, m.compiler)
	} else {
		a, err = compileModule(ctx, m.engine, m.wasm)
	}
	if err != nil {
		return nil, err
	}
	a.fingerprint = sha256.Sum256([]byte(m.fingerprint))
	a.digest, a.length = m.digest, uint64(len(m.wasm))
	return a, nil
}

// fromStore returns a file, or an error of the store's, or sets m.failed.
func (m *maker) fromStore(ctx context.Context, s *Store) (f *os.File, cached bool, err error) {
	shelf, err := s.shelf(m.fingerprint)
	if err != nil {
		return nil, false, err
	}
	defer shelf.close()
	if f, cached, err = m.onShelf(ctx, shelf); err != nil {
		return nil, false, err
	}
	if !m.warm {
		shelf.used(fmt.Sprintf("%x", m.digest))
	}
	if !cached { // a compilation has just taken much longer than this can
		s.bound(shelf.fingerprint, m.digest)
	}
	return f, cached, nil
}

func (m *maker) onShelf(ctx context.Context, shelf *shelf) (f *os.File, cached bool, err error) {
	if f, err := shelf.find(m.digest); err == nil {
		return f, true, nil
	} else if !worthCompiling(err) {
		return nil, false, err
	}
	entry := fmt.Sprintf("%x", m.digest)
	unlock, err := shelf.lock(ctx, entry)
	if err != nil {
		return nil, false, err
	}
	defer unlock()
	// Whoever had the lock before may have made it.
	f, err = shelf.find(m.digest)
	if err == nil {
		return f, true, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		if err := shelf.remove(entry); err != nil {
			return nil, false, err
		}
	}
	shelf.sweep(entry)
	art, err := m.make(ctx)
	if err != nil {
		return nil, false, err
	}
	if err := shelf.publish(art); err != nil {
		return nil, false, err
	}
	f, err = shelf.find(m.digest)
	return f, false, err
}

// worthCompiling tells a missing or bad entry from a store that is broken.
func worthCompiling(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrDamaged) || errors.Is(err, ErrStale)
}
