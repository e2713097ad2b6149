package aot

import (
	"encoding/binary"
	"os"

	"golang.org/x/sys/unix"
)

// image is the initial content of a memory: all active data segments laid out.
// base and len(data) are multiples of 64 KiB, the greatest page size of the
// machines we run on, so that data can be mapped at base.
type image struct {
	base uint64
	data []byte
}

// An image may be this much larger than its segments: linkers leave runs of
// zeros out (Go's images are half zeros). Segments further apart are left to
// the engine to copy.
const (
	imageFactor = 4
	imageSlack  = 1 << 20
)

// newImage lays out the data segments of a module whose memory is its own and
// all of whose active segments have constant offsets inside the initial
// memory; nil for any other module, whose segments stay as they are. A segment
// out of bounds has to trap at instantiation, after the ones before it had
// their effect, so that case is not for us either.
func newImage(secs []section, info *Info) *image {
	if !info.HasMemory || info.Shared || info.Memory64 || info.Memories != 1 || info.importsMemory() {
		return nil
	}
	var data reader
	for i := range secs {
		if secs[i].id == secData {
			data = secs[i].reader
		}
	}
	size := info.MemoryMin * wasmPage
	lo, hi, sum := size, uint64(0), uint64(0)
	ok := eachActive(data, func(at uint64, b []byte) bool {
		end := at + uint64(len(b))
		if end > size {
			return false
		}
		if len(b) > 0 {
			lo, hi = min(lo, at), max(hi, end)
		}
		sum += uint64(len(b))
		return true
	})
	lo, hi = lo&^(wasmPage-1), (hi+wasmPage-1)&^(wasmPage-1)
	if !ok || lo >= hi || hi-lo > imageFactor*sum+imageSlack {
		return nil
	}
	img := &image{lo, make([]byte, hi-lo)}
	eachActive(data, func(at uint64, b []byte) bool {
		if len(b) > 0 {
			copy(img.data[at-lo:], b)
		}
		return true
	})
	return img
}

// eachActive calls f for every active segment in order, until f returns false.
// It gives false also if an offset is anything but one i32.const.
func eachActive(data reader, f func(at uint64, b []byte) bool) bool {
	for n := data.count(2); n > 0; n-- {
		flag := data.u32()
		if flag == 1 {
			data.bytes(data.u32())
			continue
		}
		if flag == 2 && data.u32() != 0 {
			return false
		}
		at, ok := constI32(&data)
		b := data.bytes(data.u32())
		if !ok || data.err != nil || !f(uint64(at), b) {
			return false
		}
	}
	return data.err == nil
}

// constI32 reads the expression "i32.const N end"; the bits of N are an
// address.
func constI32(r *reader) (uint32, bool) {
	if r.u8() != 0x41 {
		return 0, false
	}
	v, shift := int64(0), uint(0)
	for shift < 35 {
		c := r.u8()
		v |= int64(c&0x7f) << shift
		shift += 7
		if c < 0x80 {
			if c&0x40 != 0 {
				v |= -1 << shift
			}
			break
		}
	}
	return uint32(v), r.u8() == 0x0b && r.err == nil
}

func (i *Info) importsMemory() bool {
	for _, o := range i.OtherImports {
		if o.Kind == KindMemory {
			return true
		}
	}
	return false
}

// fileImage is an image in an artifact file.
type fileImage struct {
	file   *os.File
	offset int64
	base   uint64
	size   uint64
}

// openImage finds the image of an artifact, nil if there is none. It keeps a
// descriptor of its own: every Run maps the image again.
func openImage(a *artifact, f *os.File) (*fileImage, error) {
	data, base := a.part(partImage), a.part(partImageBase)
	if len(base.data) != 8 || len(data.data) == 0 {
		return nil, nil
	}
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return &fileImage{os.NewFile(uintptr(fd), f.Name()), data.offset,
		binary.LittleEndian.Uint64(base.data), uint64(len(data.data))}, nil
}

func (i *fileImage) close() {
	if i != nil {
		i.file.Close()
	}
}

// place puts the image into a fresh memory: as a private mapping, so that only
// pages the guest writes to are copied, and those it never touches are not
// even read.
func (i *fileImage) place(mem []byte) error {
	if i == nil {
		return nil
	}
	if i.base > uint64(len(mem)) || i.size > uint64(len(mem))-i.base {
		return ErrDamaged
	}
	p := mem[i.base : i.base+i.size]
	if mapOver(p, i.file, i.offset, unix.PROT_READ|unix.PROT_WRITE, 0) {
		return nil
	}
	_, err := i.file.ReadAt(p, i.offset)
	return err
}
