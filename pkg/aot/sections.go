package aot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// Section numbers of the core spec, 5.5.2, and the exception handling
// proposal.
const (
	secCustom    = 0
	secType      = 1
	secImport    = 2
	secFunction  = 3
	secTable     = 4
	secMemory    = 5
	secGlobal    = 6
	secExport    = 7
	secStart     = 8
	secElement   = 9
	secCode      = 10
	secData      = 11
	secDataCount = 12
	secTag       = 13
)

var sectionNames = [...]string{"custom section", "type section", "import section", "function section",
	"table section", "memory section", "global section", "export section", "start section",
	"element section", "code section", "data section", "data count section", "tag section"}

// sectionRank is the order sections must come in: data count sits between
// element and code, tag between memory and global.
var sectionRank = [...]byte{0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 12, 13, 11, 6}

// Sentinels of Inspect. An ErrMalformed error names the section and the offset
// in the file.
var (
	ErrNotWasm   = errors.New("not a WebAssembly file")
	ErrComponent = errors.New("is a WebAssembly component; this engine runs core modules")
	ErrMalformed = errors.New("malformed WebAssembly module")
)

// section is one section of a module: raw holds id, size and content.
type section struct {
	id  byte
	raw []byte
	reader
}

// sections splits a module. It checks header, order, sizes and that no section
// but a custom one comes twice; the content is left to the caller. Of the
// custom sections it keeps the first "name" only: a section can be three bytes
// long and takes a hundred here.
func sections(wasm []byte) ([]section, error) {
	if err := checkHeader(wasm); err != nil {
		return nil, err
	}
	r := reader{section: "module", b: wasm, pos: 8}
	out := make([]section, 0, 16)
	var last byte
	named, custom := false, uint32(0)
	for r.rest() > 0 {
		start := r.pos
		id := r.u8()
		if int(id) >= len(sectionNames) {
			return nil, malformed("module", start, fmt.Errorf("unknown section %d", id))
		}
		r.section = sectionNames[id]
		size := r.u32()
		at := r.pos
		body := r.bytes(size)
		if r.err != nil {
			return nil, r.err
		}
		s := section{id, wasm[start:r.pos], reader{section: sectionNames[id], base: at, b: body}}
		if id == secCustom {
			if custom++; custom > maxEntries {
				return nil, malformed("module", start, tooMany(custom))
			}
			content := s.reader
			name := content.name()
			if content.err != nil {
				return nil, content.err
			}
			if named || name != "name" {
				continue
			}
			named = true
		} else if rank := sectionRank[id]; rank <= last {
			return nil, malformed(sectionNames[id], start, errors.New("section out of order"))
		} else {
			last = rank
		}
		out = append(out, s)
	}
	return out, nil
}

// checkHeader tells core modules from components by the layer field, the upper
// half of the version word.
func checkHeader(wasm []byte) error {
	if len(wasm) < 4 || !bytes.Equal(wasm[:4], []byte("\x00asm")) {
		return ErrNotWasm
	}
	if len(wasm) < 8 {
		return malformed("header", len(wasm), errShort)
	}
	version, layer := binary.LittleEndian.Uint16(wasm[4:]), binary.LittleEndian.Uint16(wasm[6:])
	switch {
	case layer == 1:
		return ErrComponent
	case version != 1 || layer != 0:
		return malformed("header", 4, fmt.Errorf("unknown version %d, layer %d", version, layer))
	}
	return nil
}
