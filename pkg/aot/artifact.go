package aot

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
)

// Sentinels for artifacts. ErrStale: sound, but made by another engine,
// format, processor or for another module. ErrDamaged: not an artifact, or not
// all of it as written.
var (
	ErrStale   = errors.New("artifact is stale")
	ErrDamaged = errors.New("artifact is damaged")
)

// The file: the parts, each at a multiple of the page size so that a part can
// be mapped, then, again at a multiple, a footer of footerSize bytes. The footer
// stands last because wasmtime maps a file from its first byte only.
//
//	0  magic          8
//	8  format         u32
//	12 footer CRC     u32   CRC-32 of the footer with this field zero
//	16 parts          u32
//	20 reserved       u32
//	24 fingerprint    32    sha256 of the engine's fingerprint
//	56 module digest  32    sha256 of the module
//	88 module length  u64
//	96 engine key     32    for the engine's own use
//	128 part table    maxParts × {kind u32, CRC u32, offset u64, length u64}
const (
	artifactMagic  = "\x7fRUNWAOT"
	artifactFormat = 3
	maxParts       = 8
	partEntry      = 24
	partTable      = 128
	footerSize     = partTable + maxParts*partEntry
)

// part is a piece of an artifact, never empty; what kinds there are is the
// engine's matter.
type part struct {
	kind   uint32
	data   []byte
	offset int64 // in the file; set by decode
}

// artifact is an artifact in memory. The data of a decoded one aliases the
// file's bytes.
type artifact struct {
	fingerprint [32]byte
	digest      [32]byte
	length      uint64
	key         [32]byte
	parts       []part
	crcs        []uint32 // as the part table says; set by decode
}

// part gives the part of that kind, or one without data.
func (a *artifact) part(kind uint32) part {
	for _, p := range a.parts {
		if p.kind == kind {
			return p
		}
	}
	return part{}
}

// verify checks the parts of the given kinds, all of them without arguments,
// against their checksums.
func (a *artifact) verify(kinds ...uint32) error {
	for i, p := range a.parts {
		want := len(kinds) == 0
		for _, k := range kinds {
			want = want || k == p.kind
		}
		if want && checksum(p.data) != a.crcs[i] {
			return fmt.Errorf("%w: part %d: wrong checksum", ErrDamaged, p.kind)
		}
	}
	return nil
}

// checksum is the CRC-32 of Ethernet: both polynomials have instructions on
// amd64 and arm64, some 10 GB/s, but Go takes 0.15 ms longer to set up the
// other one, in each process.
func checksum(b []byte) uint32 { return crc32.ChecksumIEEE(b) }

func alignPart(n uint64) uint64 {
	page := uint64(os.Getpagesize())
	return (n + page - 1) &^ (page - 1)
}

// footer lays the parts out and encodes the footer for them, which goes to
// offset at.
func (a *artifact) footer() (footer []byte, at int64, err error) {
	if len(a.parts) == 0 || len(a.parts) > maxParts {
		return nil, 0, fmt.Errorf("artifact of %d parts, the format holds %d", len(a.parts), maxParts)
	}
	h := make([]byte, footerSize)
	le := binary.LittleEndian
	copy(h, artifactMagic)
	le.PutUint32(h[8:], artifactFormat)
	le.PutUint32(h[16:], uint32(len(a.parts)))
	copy(h[24:], a.fingerprint[:])
	copy(h[56:], a.digest[:])
	le.PutUint64(h[88:], a.length)
	copy(h[96:], a.key[:])
	off := uint64(0)
	for i, p := range a.parts {
		e := h[partTable+i*partEntry:]
		le.PutUint32(e, p.kind)
		le.PutUint32(e[4:], checksum(p.data))
		le.PutUint64(e[8:], off)
		le.PutUint64(e[16:], uint64(len(p.data)))
		off = alignPart(off + uint64(len(p.data)))
	}
	le.PutUint32(h[12:], checksum(h))
	return h, int64(off), nil
}

// writeTo writes the whole file.
func (a *artifact) writeTo(w io.WriterAt) error {
	h, at, err := a.footer()
	if err != nil {
		return err
	}
	for i, p := range a.parts {
		off := binary.LittleEndian.Uint64(h[partTable+i*partEntry+8:])
		if _, err := w.WriteAt(p.data, int64(off)); err != nil {
			return err
		}
	}
	_, err = w.WriteAt(h, at)
	return err
}

// decodeArtifact reads the footer of an artifact file held in b and cuts the
// parts out of b. It checks the footer's checksum and every offset and length,
// not the checksums of the parts: see verify.
func decodeArtifact(b []byte) (*artifact, error) {
	if len(b) < footerSize {
		return nil, fmt.Errorf("%w: %d bytes are too short", ErrDamaged, len(b))
	}
	le := binary.LittleEndian
	at := uint64(len(b) - footerSize)
	h := append([]byte(nil), b[at:]...)
	if string(h[:8]) != artifactMagic {
		return nil, fmt.Errorf("%w: no artifact footer", ErrDamaged)
	}
	sum := le.Uint32(h[12:])
	clear(h[12:16])
	if checksum(h) != sum {
		return nil, fmt.Errorf("%w: footer: wrong checksum", ErrDamaged)
	}
	if v := le.Uint32(h[8:]); v != artifactFormat {
		return nil, fmt.Errorf("%w: format %d, want %d", ErrStale, v, artifactFormat)
	}
	a := &artifact{length: le.Uint64(h[88:])}
	copy(a.fingerprint[:], h[24:])
	copy(a.digest[:], h[56:])
	copy(a.key[:], h[96:])
	n := le.Uint32(h[16:])
	if n == 0 || n > maxParts {
		return nil, fmt.Errorf("%w: %d parts", ErrDamaged, n)
	}
	end := uint64(0)
	for i := range int(n) {
		e := h[partTable+i*partEntry:]
		off, length := le.Uint64(e[8:]), le.Uint64(e[16:])
		if off < end || off > at || length == 0 || length > at-off {
			return nil, fmt.Errorf("%w: part %d lies outside the file", ErrDamaged, i)
		}
		end = off + length
		a.parts = append(a.parts, part{le.Uint32(e), b[off:end:end], int64(off)})
		a.crcs = append(a.crcs, le.Uint32(e[4:]))
	}
	if alignPart(end) != at {
		return nil, fmt.Errorf("%w: %d bytes after the last part", ErrDamaged, at-end)
	}
	return a, nil
}

// expect checks what the artifact was made for.
func (a *artifact) expect(fingerprint string, digest [32]byte) error {
	if a.fingerprint != sha256.Sum256([]byte(fingerprint)) {
		return fmt.Errorf("%w: made by another engine than %s", ErrStale, fingerprint)
	}
	if a.digest != digest {
		return fmt.Errorf("%w: made for module %x", ErrStale, a.digest)
	}
	return nil
}
