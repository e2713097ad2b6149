package aot

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/runw/runw/pkg/hostfuncs/abi"
)

func TestRunErrors(t *testing.T) {
	nop := func(abi.Memory, []uint64) error { return nil }
	for _, c := range []struct {
		name, wat, entry string
		funcs            []abi.Func
		flags            []string
		want             error // may be nil
		says             string
		engine           string // "" is every engine
	}{
		{name: "nobody offers it", wat: `(module (import "env" "foo" (func (param i32))) (func (export "_start")))`,
			want: ErrLink, says: `"env"."foo" of type (i32)->`},
		{name: "other type", wat: `(module (import "env" "foo" (func (param i32))) (func (export "_start")))`,
			funcs: []abi.Func{hostFn("env", "foo", "I", "", nop)}, want: ErrLink, says: `the host has (i64)->`},
		{name: "two types under one name", wat: `(module (import "env" "foo" (func (param i32))) (import "env" "foo" (func)) (func (export "_start")))`,
			funcs: []abi.Func{hostFn("env", "foo", "i", "", nop), hostFn("env", "foo", "", "", nop)}, want: ErrLink, says: "one type per name", engine: "wazero"},
		{name: "imported memory", wat: `(module (import "env" "memory" (memory 1)) (func (export "_start")))`,
			want: ErrLink, says: `memory "env"."memory"`},
		{name: "no _start", wat: `(module (func (export "run")))`, says: `no function "_start"`},
		{name: "reactor", wat: `(module (func (export "_initialize")))`, says: "reactor"},
		{name: "no such entry", wat: `(module (func (export "_start")))`, entry: "run", says: `no function "run"`},
		{name: "entry is a memory", wat: `(module (memory (export "run") 1))`, entry: "run", says: `"run" is a memory`},
		{name: "entry with parameters", wat: `(module (func (export "run") (param i32)))`, entry: "run", says: "(i32)->"},
		{name: "data out of bounds", wat: `(module (memory 1) (data (i32.const 65535) "ab") (func (export "_start")))`, says: "out of bounds memory access"},
	} {
		t.Run(c.name, func(t *testing.T) {
			everyWay(t, watText(t, c.wat, c.flags...), func(t *testing.T, m Module) {
				err := m.Run(context.Background(), RunArgs{Funcs: c.funcs, Entry: c.entry})
				if _, is := m.(*wazeroModule); c.engine == "wazero" && !is {
					if err != nil {
						t.Errorf("got %v", err)
					}
					return
				}
				if err == nil || !strings.Contains(err.Error(), c.says) || c.want != nil && !errors.Is(err, c.want) {
					t.Errorf("got %v, want %v with %q", err, c.want, c.says)
				}
			})
		})
	}
}

// recorder collects what a guest passes to host.put(i32).
func recorder(out *[]uint32) abi.Func {
	return hostFn("host", "put", "i", "", func(_ abi.Memory, s []uint64) error {
		*out = append(*out, uint32(s[0]))
		return nil
	})
}

// Modules in which the shell and the image leave out what the native code
// refers to by index or address.
func TestGuestSeesItsData(t *testing.T) {
	const put = `(import "host" "put" (func $put (param i32)))`
	for _, c := range []struct {
		name, wat string
		want      string
	}{
		{"later segment wins", `(memory 1) (data (i32.const 4) "\01\02\03\04") (data (i32.const 5) "\09")
			(func (export "_start") (call $put (i32.load (i32.const 4))))`, "[67307777]"},
		{"behind the image", `(memory 3) (data (i32.const 0) "\01")
			(func (export "_start") (call $put (i32.load (i32.const 0))) (call $put (i32.load (i32.const 65536))) (call $put (i32.load (i32.const 131072))))`, "[1 0 0]"},
		{"high address", `(memory 32769) (data (i32.const -2147483648) "\07") 
			(func (export "_start") (call $put (i32.load8_u (i32.const -2147483648))))`, "[7]"},
		{"far apart", `(memory 200) (data (i32.const 0) "\01") (data (i32.const 13000000) "\02")
			(func (export "_start") (call $put (i32.load8_u (i32.const 13000000))))`, "[2]"},
		{"passive", `(memory 1) (data $a (i32.const 0) "\01") (data $p "\05\06")
			(func (export "_start") (memory.init $p (i32.const 8) (i32.const 0) (i32.const 2)) (data.drop $p) (data.drop $a)
			(call $put (i32.load16_u (i32.const 8))) (call $put (i32.load8_u (i32.const 0))))`, "[1541 1]"},
		{"active is dropped", `(memory 1) (data $a (i32.const 0) "\01")
			(func (export "_start") (memory.init $a (i32.const 8) (i32.const 0) (i32.const 0)) (call $put (i32.load8_u (i32.const 0))))`, "[1]"},
		{"computed offset", `(memory 1) (data (i32.add (i32.const 10) (i32.const 6)) "\03")
			(func (export "_start") (call $put (i32.load8_u (i32.const 16))))`, "[3]"},
		{"globals, tables, tail", `(global $g (mut i32) (i32.const 41)) (table 2 funcref) (elem (i32.const 1) $f) (type $t (func (result i32)))
			(func $f (result i32) (global.set $g (i32.add (global.get $g) (i32.const 1))) (global.get $g))
			(func (export "_start") (call $put (call_indirect (type $t) (i32.const 1))))`, "[42]"},
		{"start section first", `(memory 1) (func $s (call $put (i32.const 1))) (start $s) (func (export "_start") (call $put (i32.const 2)))`, "[1 2]"},
		{"no memory", `(func (export "_start") (call $put (i32.const 3)))`, "[3]"},
		{"empty memory", `(memory 0 10) (func (export "_start") (call $put (memory.grow (i32.const 1))) (i32.store (i32.const 0) (i32.const 9)) (call $put (i32.load (i32.const 0))))`, "[0 9]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			wasm := watText(t, "(module "+put+c.wat+")", "--enable-extended-const", "--no-check")
			everyWay(t, wasm, func(t *testing.T, m Module) {
				for range 2 { // a second instance starts from the same memory
					var got []uint32
					if err := m.Run(context.Background(), RunArgs{Funcs: []abi.Func{recorder(&got)}}); err != nil {
						t.Fatal(err)
					}
					if fmt.Sprint(got) != c.want {
						t.Errorf("got %v, want %s", got, c.want)
					}
				}
			})
		})
	}
}

func TestImageIsUsed(t *testing.T) {
	for text, want := range map[string]bool{
		`(module (memory 1) (data (i32.const 1024) "abc"))`:                                      true,
		`(module (memory 1) (data "abc"))`:                                                       false,
		`(module (memory 1) (data (i32.const 65534) "abc"))`:                                     false,
		`(module (memory 1))`:                                                                    false,
		`(module (import "e" "m" (memory 1)) (data (i32.const 0) "abc"))`:                        false,
		`(module (memory 100) (data (i32.const 0) "a") (data (i32.const 5000000) "b"))`:          false,
		`(module (import "e" "g" (global i32)) (memory 1) (data (global.get 0) "abc"))`:          false,
		`(module (memory 1) (data (i32.const 0) "a") (data (i32.const 1) "b") (data "passive"))`: true,
	} {
		secs, err := sections(watText(t, text))
		if err != nil {
			t.Fatal(err)
		}
		info, err := checkModule(secs)
		if err != nil {
			t.Fatal(err)
		}
		if got := newImage(secs, info) != nil; got != want {
			t.Errorf("%s: image %v, want %v", text, got, want)
		}
	}
}

func TestReactor(t *testing.T) {
	wasm := watText(t, `(module (import "host" "put" (func $put (param i32)))
		(func (export "_initialize") (call $put (i32.const 1)))
		(func (export "run") (result i32) (call $put (i32.const 2)) (i32.const 5)))`)
	everyWay(t, wasm, func(t *testing.T, m Module) {
		var got []uint32
		if err := m.Run(context.Background(), RunArgs{Funcs: []abi.Func{recorder(&got)}, Entry: "run"}); err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(got) != "[1 2]" {
			t.Errorf("calls %v, want _initialize before run", got)
		}
	})
}

func TestExitFromStartSection(t *testing.T) {
	wasm := watText(t, `(module (import "wasi_snapshot_preview1" "proc_exit" (func $x (param i32)))
		(func $s (call $x (i32.const 0))) (start $s) (func (export "_start") unreachable))`)
	everyWay(t, wasm, func(t *testing.T, m Module) {
		var exit *abi.ExitError
		if err := m.Run(context.Background(), RunArgs{Funcs: []abi.Func{procExit}}); !errors.As(err, &exit) || exit.Code != 0 {
			t.Errorf("got %v, want exit status 0", err)
		}
	})
}

func TestTrapInStartSection(t *testing.T) {
	wasm := watText(t, `(module (func $s unreachable) (start $s) (func (export "_start")))`)
	everyWay(t, wasm, func(t *testing.T, m Module) {
		var trap *TrapError
		if err := m.Run(context.Background(), RunArgs{}); !errors.As(err, &trap) || trap.Reason != "unreachable" {
			t.Errorf("got %v, want the trap unreachable", err)
		}
	})
}

// A defect in a host function ends the guest, not the process, and leaves no
// Go stack in the backtrace.
func TestHostFunctionPanics(t *testing.T) {
	bad := hostFn("host", "put", "i", "", func(m abi.Memory, s []uint64) error {
		_ = m[s[0]] // no memory: out of range
		return nil
	})
	wasm := watText(t, `(module (import "host" "put" (func $put (param i32))) (func $f (export "_start") (call $put (i32.const 1))))`)
	everyWay(t, wasm, func(t *testing.T, m Module) {
		var trap *TrapError
		err := m.Run(context.Background(), RunArgs{Funcs: []abi.Func{bad}})
		if !errors.As(err, &trap) || !strings.Contains(trap.Reason, "index out of range") || guestFrames(trap.Backtrace) != "_start" {
			t.Errorf("got %v (%+q)", err, trap.Backtrace)
		}
	})
}

func TestUnsupported(t *testing.T) {
	for _, c := range []struct {
		name string
		wasm func() []byte
		want error
		says string
		not  string // the engine that takes it
	}{
		{"memory64", func() []byte { return watText(t, `(module (memory i64 1))`, "--enable-memory64") }, ErrUnsupported, "memory64", "wasmtime"},
		{"multi-memory", func() []byte { return watText(t, `(module (memory 1) (memory 1))`, "--enable-multi-memory") }, ErrUnsupported, "multi-memory", "wasmtime"},
		{"legacy exceptions", func() []byte {
			return watText(t, `(module (tag $e) (func try throw $e catch $e end))`, "--enable-exceptions")
		}, ErrUnsupported, "legacy exceptions", ""},
		{"GC", func() []byte { return []byte(header + "\x01\x03\x01\x5f\x00") }, ErrUnsupported, "GC", "wasmtime"},
		{"component", func() []byte { return []byte("\x00asm\x0d\x00\x01\x00") }, ErrComponent, "this engine runs core modules", ""},
		{"not wasm", func() []byte { return []byte("#!/bin/sh") }, ErrNotWasm, "not a WebAssembly file", ""},
		{"empty", func() []byte { return nil }, ErrNotWasm, "not a WebAssembly file", ""},
		{"version", func() []byte { return []byte("\x00asm\x02\x00\x00\x00") }, ErrMalformed, "version 2", ""},
		{"locals", func() []byte {
			return []byte(header + "\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x0a\x0a\x01\x08\x01\xff\xff\xff\xff\x0f\x7f\x0b")
		}, ErrMalformed, "4294967295 locals", ""},
		{"imports", func() []byte { return []byte(header + "\x02\x05\xff\xff\xff\xff\x0f") }, ErrMalformed, "import section, offset 0xf", ""},
		{"invalid body", func() []byte {
			return []byte(header + "\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x0a\x05\x01\x03\x00\x6a\x0b")
		}, nil, "invalid module", ""},
	} {
		for _, engine := range testEngines() {
			wasm := c.wasm()
			for name, f := range map[string]func() error{
				"Ensure": func() error {
					_, err := Ensure(context.Background(), EnsureArgs{Engine: engine, Wasm: wasm})
					return err
				},
				"Open": func() error {
					_, err := Open(context.Background(), OpenArgs{Engine: engine, Wasm: wasm})
					return err
				},
			} {
				err := f()
				if engine == c.not {
					if err != nil {
						t.Errorf("%s: %s for %s: %v", c.name, name, engine, err)
					}
					continue
				}
				if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
					t.Errorf("%s: %s for %s: got %v, want %v with %q", c.name, name, engine, err, c.want, c.says)
				}
			}
		}
	}
	t.Run("truncated", func(t *testing.T) {
		wasm := wat(t, "traps")
		secs, err := sections(wasm)
		if err != nil {
			t.Fatal(err)
		}
		whole := map[int]bool{8: true} // cuts that leave whole sections
		for n, i := 8, 0; secs[i].id < secFunction; i++ {
			n += len(secs[i].raw)
			whole[n] = true
		}
		for n := range len(wasm) - 1 {
			if _, err := Ensure(context.Background(), EnsureArgs{Wasm: wasm[:n]}); (err == nil) != whole[n] {
				t.Errorf("%d of %d bytes: %v", n, len(wasm), err)
			}
		}
	})
}

func TestEngineNames(t *testing.T) {
	best := Engines()[0]
	for name, want := range map[string]string{"": best, "auto": best, "wazero": "wazero"} {
		if got, err := Resolve(name); err != nil || got != want {
			t.Errorf("Resolve(%q) = %q, %v", name, got, err)
		}
	}
	for name, says := range map[string]string{"wasmtime": "not linked into this binary", "v8": "unknown engine"} {
		if name == best {
			continue
		}
		if _, err := Resolve(name); !errors.Is(err, ErrEngine) || !strings.Contains(err.Error(), says) {
			t.Errorf("Resolve(%q): %v, want ErrEngine with %q", name, err, says)
		}
		if _, err := Ensure(context.Background(), EnsureArgs{Engine: name}); !errors.Is(err, ErrEngine) {
			t.Errorf("Ensure with %q: %v", name, err)
		}
		if _, err := Open(context.Background(), OpenArgs{Engine: name}); !errors.Is(err, ErrEngine) {
			t.Errorf("Open with %q: %v", name, err)
		}
	}
}

// An upgrade of wazero that changes the cache's shape or the entry's format
// fails here.
func TestWazeroCacheSeam(t *testing.T) {
	if _, err := newWazeroCache(&wazeroCache{}); err != nil {
		t.Fatal(err)
	}
	c := &wazeroCache{}
	b, err := wazeroLoad(context.Background(), c, wat(t, "exit7"), false)
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	head, code, tail := splitNative(c.content)
	if len(head) == 0 || len(code) == 0 || len(tail) == 0 || len(head)+len(code)+len(tail) != len(c.content) {
		t.Errorf("entry of %d bytes split into %d, %d, %d", len(c.content), len(head), len(code), len(tail))
	}
}
