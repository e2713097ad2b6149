package aot

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/runw/runw/pkg/hostfuncs/abi"
)

// goHello builds a Go program for wasip1.
func goHello(t testing.TB) []byte {
	t.Helper()
	dir := t.TempDir()
	src, out := filepath.Join(dir, "main.go"), filepath.Join(dir, "hello.wasm")
	if err := os.WriteFile(src, []byte("package main\n\nimport \"fmt\"\n\nfunc main() { fmt.Println(\"hello\") }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-o", out, src)
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=", "GOWORK=off")
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("cannot build a Go guest: %v: %s", err, msg)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func BenchmarkHostCall(b *testing.B) {
	wasm := watText(b, `(module (import "host" "f" (func $f (param i32 i32) (result i32)))
		(import "host" "n" (func $n (result i32))) (memory 1)
		(func (export "_start") (local i32) (local.set 0 (call $n))
			(loop (drop (call $f (i32.const 8) (i32.const 4)))
				(br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))`)
	for _, engine := range Engines() {
		b.Run(engine, func(b *testing.B) {
			m := open(b, OpenArgs{Engine: engine, Wasm: wasm})
			funcs := []abi.Func{
				hostFn("host", "n", "", "i", func(_ abi.Memory, s []uint64) error { s[0] = uint64(b.N); return nil }),
				hostFn("host", "f", "ii", "i", func(mem abi.Memory, s []uint64) error {
					if _, ok := mem.Bytes(uint32(s[0]), uint32(s[1])); !ok {
						return os.ErrInvalid
					}
					s[0] = 0
					return nil
				}),
			}
			b.ReportAllocs()
			b.ResetTimer()
			if err := m.Run(context.Background(), RunArgs{Funcs: funcs}); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkWarmOpen opens from the artifact, in one process: page faults of a
// fresh one come on top.
func BenchmarkWarmOpen(b *testing.B) {
	for name, wasm := range map[string][]byte{"tiny": wat(b, "exit7"), "gohello": goHello(b)} {
		for _, engine := range Engines() {
			b.Run(engine+"/"+name, func(b *testing.B) {
				s := testStore(b)
				a := ensureFor(b, engine, s, wasm)
				b.ReportAllocs()
				for b.Loop() {
					m, err := Open(context.Background(), OpenArgs{Engine: engine, Wasm: wasm, Artifact: a.File, Warn: noWarn(b)})
					if err != nil {
						b.Fatal(err)
					}
					m.Close()
				}
			})
		}
	}
}

func BenchmarkWarmEnsure(b *testing.B) {
	wasm, s := goHello(b), testStore(b)
	ensure(b, s, wasm)
	for b.Loop() {
		a, err := Ensure(context.Background(), EnsureArgs{Wasm: wasm, Store: s, Warn: noWarn(b)})
		if err != nil || !a.Cached {
			b.Fatal(a, err)
		}
		a.File.Close()
	}
}

func BenchmarkColdCompile(b *testing.B) {
	wasm := goHello(b)
	for _, engine := range Engines() {
		b.Run(engine, func(b *testing.B) {
			for b.Loop() {
				a, err := Ensure(context.Background(), EnsureArgs{Engine: engine, Wasm: wasm})
				if err != nil {
					b.Fatal(err)
				}
				a.File.Close()
			}
		})
	}
}

// A real program through the whole chain, from the store.
func TestGoHello(t *testing.T) {
	wasm := goHello(t)
	a := ensure(t, testStore(t), wasm)
	m := open(t, OpenArgs{Wasm: wasm, Artifact: a.File})
	var out []byte
	var funcs []abi.Func
	for _, imp := range m.Imports() {
		f := abi.Func{Import: imp, Call: func(_ abi.Memory, s []uint64) error {
			if len(imp.Sig.Results) > 0 {
				s[0] = 0
			}
			return nil
		}}
		switch imp.Name {
		case "proc_exit":
			f = procExit
		case "fd_prestat_get":
			f.Call = func(_ abi.Memory, s []uint64) error { s[0] = 8; return nil } // BADF
		case "clock_time_get":
			f.Call = func(mem abi.Memory, s []uint64) error {
				mem.PutUint64(uint32(s[2]), uint64(time.Now().UnixNano()))
				s[0] = 0
				return nil
			}
		case "fd_write":
			f.Call = func(mem abi.Memory, s []uint64) error {
				ptr, _ := mem.Uint32(uint32(s[1]))
				n, _ := mem.Uint32(uint32(s[1]) + 4)
				b, _ := mem.Bytes(ptr, n)
				out = append(out, b...)
				mem.PutUint32(uint32(s[3]), n)
				s[0] = 0
				return nil
			}
		}
		funcs = append(funcs, f)
	}
	if err := m.Run(context.Background(), RunArgs{Funcs: funcs}); err == nil || err.Error() != "exit status 0" {
		t.Errorf("got %v, want exit status 0", err)
	}
	if string(out) != "hello\n" {
		t.Errorf("printed %q", out)
	}
}
