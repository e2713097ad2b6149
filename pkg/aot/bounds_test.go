package aot

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// vectorOf is a section of n entries, all alike.
func vectorOf(id byte, n int, entry string) []byte {
	body := binary.AppendUvarint(nil, uint64(n))
	return appendSection(nil, id, append(body, strings.Repeat(entry, n)...))
}

// What a module makes the parent allocate is bounded, however long the file: no
// container's memory limit covers the parent.
func TestCountsAreBounded(t *testing.T) {
	const many = maxEntries + 1
	types := vectorOf(secType, 1, "\x60\x00\x00")
	funcs := vectorOf(secFunction, 1, "\x00")
	body := append(binary.AppendUvarint(nil, maxBody+1), make([]byte, maxBody+1)...)
	rows := []struct {
		name, says string
		sections   [][]byte
	}{
		{"types", "1000001 entries", [][]byte{vectorOf(secType, many, "\x60\x00\x00")}},
		{"types in groups", "1000001 entries", [][]byte{vectorOf(secType, many/2+1, "\x4e\x02\x60\x00\x00\x60\x00\x00")}},
		{"functions", "1000001 entries", [][]byte{types, vectorOf(secFunction, many, "\x00")}},
		{"exports", "1000001 entries", [][]byte{types, funcs, vectorOf(secExport, many, "\x00\x00\x00")}},
		{"custom sections", "1000001 entries", [][]byte{[]byte(strings.Repeat("\x00\x01\x00", many))}},
		{"a body", "function 0 has 7654322 bytes", [][]byte{types, funcs, vectorOf(secCode, 1, string(body))}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			wasm := []byte(header)
			for _, s := range row.sections {
				wasm = append(wasm, s...)
			}
			secs, err := sections(wasm)
			if err == nil {
				_, err = checkModule(secs)
			}
			if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), row.says) {
				t.Errorf("error %v, want one that says %q", err, row.says)
			}
		})
	}
}

// A sparse file of zeros reads as one empty custom section after the other.
func TestCustomSectionsTakeNoMemory(t *testing.T) {
	wasm := append([]byte(header), strings.Repeat("\x00\x01\x00", maxEntries)...)
	wasm = append(wasm, "\x00\x05\x04name\x00\x05\x04name"...)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := sections(wasm)
	runtime.ReadMemStats(&after)
	if err == nil {
		t.Fatal("more sections than allowed pass")
	}
	secs, err := sections(wasm[:len(wasm)-14])
	if err != nil || len(secs) != 0 {
		t.Errorf("%d sections, error %v; want none of either", len(secs), err)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 1<<20 {
		t.Errorf("%d bytes allocated for sections that say nothing", took)
	}
}

// Users other than root get sealed copies, of modules shorter than an artifact
// as well.
func TestSealedCopyOfAShortFile(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "m.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(header); err != nil {
		t.Fatal(err)
	}
	c, err := sealedCopy(f)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got := make([]byte, len(header)+1)
	if n, _ := c.ReadAt(got, 0); string(got[:n]) != header {
		t.Errorf("the copy has %q", got[:n])
	}
}
