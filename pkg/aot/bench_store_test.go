package aot

import (
	"context"
	"encoding/binary"
	"io"
	"math"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkFind is what a warm start pays in the parent: to read, inspect and
// hash the module and check the artifact (content), or to know module and
// artifact by their files (file).
func BenchmarkFind(b *testing.B) {
	hello := goHello(b)
	padded := append([]byte(nil), hello...) // with 50 MB in all, of which most is debug information
	padded = append(padded, secCustom)
	padded = binary.AppendUvarint(padded, 50_000_000)
	padded = append(append(padded, 4), "more"...)
	padded = append(padded, make([]byte, 50_000_000-5)...)
	for name, wasm := range map[string][]byte{"gohello": hello, "50MB": padded} {
		path := moduleFile(b, wasm)
		for _, engine := range Engines() {
			for _, way := range []string{"content", "file"} {
				b.Run(name+"/"+engine+"/"+way, func(b *testing.B) {
					s := keyStore(b)
					if way == "content" {
						s.settle = math.MaxInt64
					}
					for range 2 {
						benchmarkStart(b, s, engine, path)
					}
					b.ReportAllocs()
					for b.Loop() {
						if known := benchmarkStart(b, s, engine, path); known != (way == "file") {
							b.Fatal("known by its file:", known)
						}
					}
				})
			}
		}
	}
}

func benchmarkStart(b *testing.B, s *Store, engine, path string) (known bool) {
	f, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	w := s.Witness(f, false)
	defer w.Close()
	if r := w.Recall(RecallArgs{Engine: engine}); r != nil {
		r.Artifact.File.Close()
		return true
	}
	st, err := f.Stat()
	if err != nil {
		b.Fatal(err)
	}
	mem, err := unix.Mmap(-1, 0, int(st.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_POPULATE)
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Munmap(mem)
	if _, err := io.ReadFull(f, mem); err != nil {
		b.Fatal(err)
	}
	if _, err := Inspect(mem); err != nil {
		b.Fatal(err)
	}
	a, err := Ensure(context.Background(), EnsureArgs{Wasm: mem, Engine: engine, Store: s, Witness: w, Warn: noWarn(b)})
	if err != nil {
		b.Fatal(err)
	}
	a.File.Close()
	return false
}

// BenchmarkUse counts one use.
func BenchmarkUse(b *testing.B) {
	s := testStore(b)
	sh, err := s.shelf("x")
	if err != nil {
		b.Fatal(err)
	}
	defer sh.close()
	for b.Loop() {
		sh.used(fakeDigest(1))
	}
}
