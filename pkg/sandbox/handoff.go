package sandbox

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Handoff is what the engine process is told. It travels on a sealed memfd so
// that the guest's arguments and environment never become the engine's.
//
// The descriptors follow a fixed order, so that only their number has to be
// told: the guest's inherited descriptors from 3 on, then the handoff itself,
// the module, the page for metrics if there is one, the artifact if there is
// one, and the socket to the helper for inference if there is one.
type Handoff struct {
	// ID is the container's, for messages.
	ID string
	// Engine is the name the parent resolved, never "auto".
	Engine string
	// Args and Env are the guest's.
	Args, Env []string
	// Preopens are the directories the guest may start a path from.
	Preopens []Preopen
	// Entry is the export to call, "" for _start.
	Entry string
	// Inherited counts the guest's descriptors from 3 on.
	Inherited int
	// Artifact says that native code follows the module.
	Artifact bool
	// MemoryLimit is the container's memory limit in bytes, 0 for none. What
	// the engine itself needs is part of it.
	MemoryLimit uint64
	// Trace asks for a line on stderr for each host call.
	Trace bool
	// Net is the network policy, as the annotation has it.
	Net string
	// Inference says that the socket to the helper is there.
	Inference bool
	// Metrics says that a page for metrics follows the module.
	Metrics bool
	// Models are those that the guest can load by name.
	Models []Model
}

// Model is a model for inference; see pkg/oci.NNModel.
type Model struct {
	Name             string
	Encoding, Target uint32
	Path             string
}

// Preopen is one directory given to the guest; see pkg/oci.Preopen.
type Preopen struct {
	Name, Path string
	ReadOnly   bool
}

// ErrHandoff is wrapped by every error about a handoff that cannot be used.
var ErrHandoff = errors.New("bad handoff")

// handoffMagic starts every handoff; its last byte is the format's version.
const handoffMagic = "runw\x00\x03"

// maxHandoff bounds what the engine reads: execve's own limit for arguments
// and environment is 6 MiB (a quarter of the 24 MiB stack maximum).
const maxHandoff = 16 << 20

// The flag bits of the encoding.
const (
	flagArtifact = 1 << iota
	flagTrace
	flagInference
	flagMetrics
	flagsKnown = flagArtifact | flagTrace | flagInference | flagMetrics
)

// Encode gives the handoff's bytes: the magic, then each field in the order of
// the struct but the flags in one byte, strings and lists behind their length as
// an uvarint.
func (h *Handoff) Encode() []byte {
	b := []byte(handoffMagic)
	b = appendString(b, h.ID)
	b = appendString(b, h.Engine)
	b = appendStrings(b, h.Args)
	b = appendStrings(b, h.Env)
	b = binary.AppendUvarint(b, uint64(len(h.Preopens)))
	for _, p := range h.Preopens {
		b = appendString(b, p.Name)
		b = appendString(b, p.Path)
		b = append(b, boolByte(p.ReadOnly))
	}
	b = appendString(b, h.Entry)
	b = binary.AppendUvarint(b, uint64(h.Inherited))
	flags := boolByte(h.Artifact)*flagArtifact | boolByte(h.Trace)*flagTrace | boolByte(h.Inference)*flagInference | boolByte(h.Metrics)*flagMetrics
	b = append(b, flags)
	b = binary.AppendUvarint(b, h.MemoryLimit)
	b = appendString(b, h.Net)
	b = binary.AppendUvarint(b, uint64(len(h.Models)))
	for _, m := range h.Models {
		b = appendString(b, m.Name)
		b = binary.LittleEndian.AppendUint32(b, m.Encoding)
		b = binary.LittleEndian.AppendUint32(b, m.Target)
		b = appendString(b, m.Path)
	}
	return b
}

func boolByte(v bool) byte {
	if v {
		return 1
	}
	return 0
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendStrings(b []byte, list []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, s := range list {
		b = appendString(b, s)
	}
	return b
}

// DecodeHandoff is Encode's inverse. Every length is checked against what is
// left, and nothing may follow the last field.
func DecodeHandoff(b []byte) (*Handoff, error) {
	if len(b) > maxHandoff {
		return nil, fmt.Errorf("%w: %d bytes, more than %d", ErrHandoff, len(b), maxHandoff)
	}
	if len(b) < len(handoffMagic) || string(b[:len(handoffMagic)]) != handoffMagic {
		return nil, fmt.Errorf("%w: not of this version of runw", ErrHandoff)
	}
	d := decoder{rest: b[len(handoffMagic):]}
	h := &Handoff{
		ID:     d.string(),
		Engine: d.string(),
		Args:   d.strings(),
		Env:    d.strings(),
	}
	for n := d.count(3); n > 0; n-- {
		h.Preopens = append(h.Preopens, Preopen{Name: d.string(), Path: d.string(), ReadOnly: d.byte() != 0})
	}
	h.Entry = d.string()
	h.Inherited = d.small()
	flags := d.byte()
	h.Artifact, h.Trace = flags&flagArtifact != 0, flags&flagTrace != 0
	h.Inference, h.Metrics = flags&flagInference != 0, flags&flagMetrics != 0
	h.MemoryLimit = d.uvarint()
	h.Net = d.string()
	for n := d.count(10); n > 0; n-- {
		h.Models = append(h.Models, Model{Name: d.string(), Encoding: d.uint32(), Target: d.uint32(), Path: d.string()})
	}
	switch {
	case d.bad:
		return nil, fmt.Errorf("%w: cut short", ErrHandoff)
	case flags&^flagsKnown != 0:
		return nil, fmt.Errorf("%w: unknown flags %#x", ErrHandoff, flags)
	case len(d.rest) != 0:
		return nil, fmt.Errorf("%w: %d bytes too many", ErrHandoff, len(d.rest))
	}
	return h, nil
}

// decoder reads fields off the front of rest; after the first bad field all
// others are zero.
type decoder struct {
	rest []byte
	bad  bool
}

func (d *decoder) fail() {
	d.bad, d.rest = true, nil
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

// count reads the length of a list whose elements take at least size bytes.
func (d *decoder) count(size uint64) uint64 {
	n := d.uvarint()
	if n > uint64(len(d.rest))/size {
		d.fail()
		return 0
	}
	return n
}

// small reads a number of descriptors.
func (d *decoder) small() int {
	n := d.uvarint()
	if n > 1<<20 {
		d.fail()
		return 0
	}
	return int(n)
}

func (d *decoder) byte() byte {
	if len(d.rest) == 0 {
		d.fail()
		return 0
	}
	v := d.rest[0]
	d.rest = d.rest[1:]
	return v
}

func (d *decoder) uint32() uint32 {
	if len(d.rest) < 4 {
		d.fail()
		return 0
	}
	v := binary.LittleEndian.Uint32(d.rest)
	d.rest = d.rest[4:]
	return v
}

func (d *decoder) string() string {
	n := d.count(1)
	s := string(d.rest[:n])
	d.rest = d.rest[n:]
	return s
}

func (d *decoder) strings() []string {
	n := d.count(1)
	if n == 0 {
		return nil
	}
	list := make([]string, 0, min(n, 1024))
	for ; n > 0 && !d.bad; n-- {
		list = append(list, d.string())
	}
	return list
}
