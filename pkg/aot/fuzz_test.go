package aot

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/runw/runw/pkg/hostfuncs/abi"
	"github.com/tetratelabs/wazero"
)

func addSeeds(f *testing.F) {
	for _, s := range []string{
		"", "\x00asm", header, "\x00asm\x0d\x00\x01\x00",
		header + "\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x0a\x05\x01\x03\x00\x00\x0b",
		header + "\x01\x05\x01\x60\x01\x7f\x00\x02\x09\x01\x01a\x01b\x00\x00",
		header + "\x05\x04\x01\x01\x01\x02\x0b\x08\x01\x00\x41\x08\x0b\x02hi",
		header + "\x01\x08\x01\x4e\x02\x60\x00\x00\x60\x00\x00",
		header + "\x00\x0b\x04name\x01\x04\x01\x00\x01f",
	} {
		f.Add([]byte(s))
	}
	names, err := filepath.Glob("testdata/*.wat")
	if err != nil {
		f.Fatal(err)
	}
	for _, n := range names {
		b := filepath.Base(n)
		f.Add(wat(f, b[:len(b)-len(".wat")], "--debug-names"))
	}
}

// FuzzInspect: what Inspect says of imports is what wazero's decoder says; what
// passes checkModule can be stripped, emptied and imaged without a panic, and
// the shell of a module that wazero accepts is accepted too, with the same
// imports and exports.
func FuzzInspect(f *testing.F) {
	addSeeds(f)
	ctx := context.Background()
	f.Fuzz(func(t *testing.T, wasm []byte) {
		info, err := Inspect(wasm)
		if err != nil {
			if !errors.Is(err, ErrNotWasm) && !errors.Is(err, ErrComponent) && !errors.Is(err, ErrMalformed) {
				t.Fatalf("error without a sentinel: %v", err)
			}
			return
		}
		secs, err := sections(wasm)
		if err != nil {
			t.Fatal(err)
		}
		if checkModule2(secs) != nil {
			return // wazero would be led to allocate without bounds
		}
		rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(wazeroFeatures()))
		defer rt.Close(ctx)
		plain, err := compileQuietly(ctx, rt, stripped(secs))
		if err != nil {
			return
		}
		sameImports(t, info, plain)
		sh := shell(secs, newImage(secs, info))
		emptied, err := compileQuietly(ctx, rt, sh)
		if err != nil {
			t.Fatalf("the module is valid, its shell is not: %v", err)
		}
		sameImports(t, info, emptied)
		again, err := Inspect(sh)
		if err != nil {
			t.Fatal(err)
		}
		if len(again.Exports) != len(info.Exports) || again.MemoryMin != info.MemoryMin || again.HasMemory != info.HasMemory {
			t.Fatalf("shell: %+v, module: %+v", again, info)
		}
	})
}

func checkModule2(secs []section) error { _, err := checkModule(secs); return err }

// compileQuietly takes a panic in wazero's validation for a refusal, as
// wazeroCompile does.
func compileQuietly(ctx context.Context, rt wazero.Runtime, wasm []byte) (m wazero.CompiledModule, err error) {
	defer recovered(&err)
	return rt.CompileModule(ctx, wasm)
}

func sameImports(t *testing.T, info *Info, m wazero.CompiledModule) {
	t.Helper()
	defs := m.ImportedFunctions()
	if len(defs) != len(info.Imports) {
		t.Fatalf("%d imports, wazero sees %d", len(info.Imports), len(defs))
	}
	for i, d := range defs {
		module, name, _ := d.Import()
		imp := info.Imports[i]
		if module != imp.Module || name != imp.Name || len(d.ParamTypes()) != len(imp.Sig.Params) || len(d.ResultTypes()) != len(imp.Sig.Results) {
			t.Fatalf("import %d: %v, wazero sees %s.%s %v %v", i, imp, module, name, d.ParamTypes(), d.ResultTypes())
		}
		for j, v := range d.ParamTypes() {
			if plainType(imp.Sig.Params[j]) && v != byte(imp.Sig.Params[j]) {
				t.Fatalf("import %d: parameter %d: %v, wazero sees %#x", i, j, imp.Sig.Params[j], v)
			}
		}
	}
}

func plainType(v abi.ValueType) bool { return v >= abi.F64 && v <= abi.I32 }

// FuzzArtifact: a file that decodes has its parts inside the file, and if it
// also verifies, a second writing gives the same parts.
func FuzzArtifact(f *testing.F) {
	a := &artifact{length: 8, parts: []part{{kind: partShell, data: []byte(header)}, {kind: partCode, data: []byte("code")}}}
	file, err := memoryFile(a)
	if err != nil {
		f.Fatal(err)
	}
	good, err := os.ReadFile(filepath.Join("/proc/self/fd", strconv.Itoa(int(file.Fd()))))
	if err != nil {
		f.Fatal(err)
	}
	file.Close()
	f.Add(good)
	f.Add(good[len(good)-footerSize:])
	f.Add([]byte(artifactMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		for range 2 {
			got, err := decodeArtifact(b)
			if err != nil {
				if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrStale) {
					t.Fatalf("error without a sentinel: %v", err)
				}
			} else {
				total := 0
				for _, p := range got.parts {
					total += len(p.data)
				}
				if total > len(b) || len(got.parts) > maxParts {
					t.Fatalf("%d bytes in %d parts of a file of %d", total, len(got.parts), len(b))
				}
				if _, err := Inspect(got.part(partShell).data); err == nil && got.verify() == nil {
					if h, _, err := got.footer(); err != nil || len(h) != footerSize {
						t.Fatal(err)
					}
				}
			}
			if len(b) < footerSize {
				return
			}
			// Mutations rarely keep the footer's checksum right: do it for them.
			b = append([]byte(nil), b...)
			h := b[len(b)-footerSize:]
			copy(h, artifactMagic)
			h[8], h[9], h[10], h[11] = artifactFormat, 0, 0, 0
			clear(h[12:16])
			sum := checksum(h)
			h[12], h[13], h[14], h[15] = byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)
		}
	})
}
