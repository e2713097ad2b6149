package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// maxModule bounds what a bundle can make the parent read. The largest modules
// in use, interpreters with their libraries inside, have about 100 MB.
const maxModule = 512 << 20

var errEmptyModule = errors.New("is empty")

func moduleSize(f *os.File) (int, error) {
	info, err := f.Stat()
	switch {
	case err != nil:
		return 0, err
	case info.Size() == 0:
		return 0, errEmptyModule
	case info.Size() > maxModule:
		return 0, fmt.Errorf("has %d bytes, more than %d", info.Size(), maxModule)
	}
	return int(info.Size()), nil
}

// readModule reads the file into memory of its own, until free is called. A
// mapping of the file would not do: what is hashed has to be what is compiled,
// whoever writes to the file meanwhile. The memory comes populated, because a
// page fault for each of its pages costs more than the reading.
func readModule(f *os.File) (wasm []byte, free func(), err error) {
	size, err := moduleSize(f)
	if err != nil {
		return nil, nil, err
	}
	mem, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_POPULATE)
	if err != nil {
		return nil, nil, fmt.Errorf("memory for %d bytes: %w", size, err)
	}
	free = func() { _ = unix.Munmap(mem) }
	n, err := io.ReadFull(io.NewSectionReader(f, 0, int64(size)), mem)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		free()
		return nil, nil, err
	}
	return mem[:n], free, nil
}

// mapModule is for the engine, which reads the module only if its artifact is
// of no use.
func mapModule(f *os.File) ([]byte, error) {
	defer f.Close()
	size, err := moduleSize(f)
	if err != nil {
		return nil, err
	}
	return unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_PRIVATE)
}
