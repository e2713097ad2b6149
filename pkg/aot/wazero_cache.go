package aot

import (
	"encoding/binary"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Kinds of parts in wazero's artifacts. Head, code and tail are one entry of
// wazero's cache, cut so that the code begins at a page.
const (
	partShell = 1 + iota
	partHead
	partCode
	partTail
	partImage     // the initial memory, see image
	partImageBase // its address, u64
)

// wazeroCache stands in the place of wazero's file cache (its interface is
// internal to wazero but made of plain types) for exactly one module.
type wazeroCache struct {
	key   [32]byte
	keyed bool // key is what the artifact says; else Get learns it
	parts [][]byte
	code  *mappable // where the second part can be mapped from; may be nil

	hit     bool   // wazero took what Get gave
	content []byte // what wazero compiled
}

// Get gives the entry, or nothing if it was made for another key: wazero's key
// hashes module, processor features and format.
func (c *wazeroCache) Get(key [32]byte) (io.ReadCloser, bool, error) {
	if len(c.parts) == 0 || c.keyed && key != c.key {
		return nil, false, nil
	}
	c.key, c.hit = key, true
	return &partReader{parts: c.parts, code: c.code}, true, nil
}

// Add keeps what wazero compiled because Get had nothing.
func (c *wazeroCache) Add(_ [32]byte, content io.Reader) error {
	c.hit = false
	if s, ok := content.(interface{ Len() int }); ok {
		c.content = make([]byte, s.Len())
		_, err := io.ReadFull(content, c.content)
		return err
	}
	var err error
	c.content, err = io.ReadAll(content)
	return err
}

// Delete is wazero's word for "this entry is of another version".
func (c *wazeroCache) Delete([32]byte) error {
	c.hit = false
	return nil
}

// mappable is a part as its bytes lie in a file.
type mappable struct {
	data   []byte
	file   *os.File
	offset int64
}

// partReader reads one part after the other. A read never ends short before
// the end of all: wazero takes its header by a single Read.
type partReader struct {
	parts [][]byte
	code  *mappable
}

// Read copies, but where wazero reads all the code into the pages it has
// mapped for it, the file is mapped there instead.
func (r *partReader) Read(p []byte) (int, error) {
	if c := r.code; c != nil && len(r.parts) > 0 && len(p) == len(c.data) && len(r.parts[0]) == len(p) &&
		&r.parts[0][0] == &c.data[0] && mapOver(p, c.file, c.offset, unix.PROT_READ, unix.MAP_POPULATE) {
		r.parts = r.parts[1:]
		return len(p), nil
	}
	n := 0
	for n < len(p) && len(r.parts) > 0 {
		c := copy(p[n:], r.parts[0])
		n += c
		if r.parts[0] = r.parts[0][c:]; len(r.parts[0]) == 0 {
			r.parts = r.parts[1:]
		}
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (r *partReader) Close() error { return nil }

// splitNative cuts a cache entry of wazero 1.12 (magic, version, function
// offsets, code, the rest) before and after the code. An entry of another
// shape stays in one piece, which costs time on loading and nothing else.
func splitNative(b []byte) (head, code, tail []byte) {
	const magic = "WAZEVO"
	if len(b) < len(magic)+1 || string(b[:len(magic)]) != magic {
		return b, nil, nil
	}
	at := uint64(len(magic)) + 1 + uint64(b[len(magic)])
	if at+4 > uint64(len(b)) {
		return b, nil, nil
	}
	at += 4 + 8*uint64(binary.LittleEndian.Uint32(b[at:]))
	if at+8 > uint64(len(b)) {
		return b, nil, nil
	}
	size := binary.LittleEndian.Uint64(b[at:])
	at += 8
	if size > uint64(len(b))-at {
		return b, nil, nil
	}
	return b[:at], b[at : at+size], b[at+size:]
}
