package aot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/runw/runw/pkg/hostfuncs/abi"
)

// Where engines may differ, and the generator therefore does not go: the depth
// at which a stack overflows; the bits of a NaN; relaxed SIMD; how much of a
// store that traps is written (nobody can look afterwards); whether a misaligned
// atomic out of bounds traps for the one or the other; memory64, several
// memories and GC, which wazero does not have; tables of millions of elements;
// memory limits about 4 GiB. One difference is wazero's fault: memory.init from
// an active segment works, though it is dropped (core spec 4.5.4), unless the
// module comes from an artifact with an image.

// way is one engine, with or without an artifact.
type way struct {
	engine   string
	artifact bool
}

func (w way) String() string {
	if w.artifact {
		return w.engine + " from an artifact"
	}
	return w.engine + " in memory"
}

// run tells all that a guest does and sees, one event a line.
func (w way) run(t *testing.T, wasm []byte, a RunArgs) (end string, seen []string) {
	t.Helper()
	o := OpenArgs{Engine: w.engine, Wasm: wasm, Warn: func(err error) { t.Errorf("%s: warning: %v", w, err) }}
	if w.artifact {
		made, err := Ensure(context.Background(), EnsureArgs{Wasm: wasm, Engine: w.engine, Warn: o.Warn})
		if err != nil {
			return "refused: " + err.Error(), nil
		}
		o.Artifact = made.File
		defer made.File.Close()
	}
	m, err := Open(context.Background(), o)
	if err != nil {
		return "refused: " + err.Error(), nil
	}
	defer m.Close()
	h := &observer{}
	a.Funcs = h.funcs(m.Imports())
	end = ending(m.Run(context.Background(), a))
	return end, h.seen
}

// ending is how a guest ended without what engines say in words of their own.
func ending(err error) string {
	var exit *abi.ExitError
	var trap *TrapError
	switch {
	case err == nil:
		return "returned"
	case errors.As(err, &exit):
		return fmt.Sprintf("exit %d", exit.Code)
	case errors.As(err, &trap):
		return fmt.Sprintf("trap: %s, host's error %v", trap.Reason, errors.Is(err, errObserver))
	}
	return "did not start: " + err.Error()
}

var errObserver = errors.New("the host has failed")

// observer offers host functions that note arguments and memory, and give
// results made of what they have seen.
type observer struct {
	seen  []string
	state uint64
}

func (o *observer) funcs(imports []abi.Import) []abi.Func {
	var out []abi.Func
	for _, imp := range imports {
		out = append(out, abi.Func{Import: imp, Call: func(mem abi.Memory, s []uint64) error { return o.call(imp, mem, s) }})
	}
	return out
}

// maxSeen bounds what is kept, and with it the time for looking at memory.
const maxSeen = 2000

func (o *observer) call(imp abi.Import, mem abi.Memory, s []uint64) error {
	args := make([]uint64, len(imp.Sig.Params))
	for i, t := range imp.Sig.Params {
		if args[i] = s[i]; t == abi.I32 || t == abi.F32 {
			args[i] &= 1<<32 - 1 // the high half is undefined
		}
	}
	note := fmt.Sprintf("%s%x memory %d", imp.Name, args, len(mem))
	if len(o.seen)%16 == 0 || len(o.seen) < 64 {
		note += fmt.Sprintf(" %08x", crc32.Checksum(mem, crc32.MakeTable(crc32.Castagnoli)))
	}
	if len(o.seen) < maxSeen {
		o.seen = append(o.seen, note)
	}
	for _, a := range args {
		o.state = o.state*0x9e3779b97f4a7c15 + a + 1
	}
	switch imp.Name {
	case "exit", "proc_exit":
		return &abi.ExitError{Code: uint32(args[0])}
	case "fail":
		return errObserver
	}
	for i := range imp.Sig.Results {
		s[i] = o.state >> (8 * i) & 0x3fefffff3fefffff // no NaN, in either width
	}
	if len(o.state0(mem)) > 0 {
		o.state0(mem)[0]++ // hosts write as well
	}
	return nil
}

// state0 is the byte of memory that the host writes.
func (o *observer) state0(mem abi.Memory) []byte { return mem[:min(1, len(mem))] }

func ways() (out []way) {
	for _, e := range testEngines() {
		out = append(out, way{e, true}, way{e, false})
	}
	return out
}

// agree runs a module in every way and compares; it gives how the guest ended.
func agree(t *testing.T, wasm []byte, a RunArgs) string {
	t.Helper()
	var end string
	var seen []string
	for i, w := range ways() {
		gotEnd, got := w.run(t, wasm, a)
		if i == 0 {
			end, seen = gotEnd, got
			continue
		}
		if gotEnd != end {
			t.Errorf("%s: %s\n%s: %s", ways()[0], end, w, gotEnd)
		}
		if !slices.Equal(got, seen) {
			at := 0
			for at < len(got) && at < len(seen) && got[at] == seen[at] {
				at++
			}
			t.Errorf("event %d: %s: %q\n%s: %q", at, ways()[0], tail(seen, at), w, tail(got, at))
		}
	}
	return end
}

// tail is a few events from one on.
func tail(events []string, at int) []string { return events[at:min(at+3, len(events))] }

// fuzzMemory is the memory limit: below what some modules grow to.
const fuzzMemory = 6 * wasmPage

// FuzzEngines: a generated module does the same on every engine, from an
// artifact and compiled in memory. With one engine the two ways remain.
func FuzzEngines(f *testing.F) {
	for i := range 40 {
		seed := sha256.Sum256([]byte{byte(i)})
		f.Add(bytes.Repeat(seed[:], i%5))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		wasm := generate(b)
		end := agree(t, wasm, RunArgs{MemoryLimit: fuzzMemory})
		if strings.HasPrefix(end, "refused") || strings.HasPrefix(end, "did not start") || t.Failed() {
			keep := filepath.Join(t.ArtifactDir(), "module.wasm") // stays with -artifacts
			if err := os.WriteFile(keep, wasm, 0o600); err != nil {
				t.Error(err)
			}
			t.Errorf("%s: %s", keep, end)
		}
	})
}

// The modules of testdata, by each of their entries.
func TestEnginesAgree(t *testing.T) {
	names, err := filepath.Glob("testdata/*.wat")
	if err != nil || len(names) == 0 {
		t.Fatalf("%d modules in testdata: %v", len(names), err)
	}
	for _, name := range names {
		name = strings.TrimSuffix(filepath.Base(name), ".wat")
		wasm := wat(t, name, "--debug-names")
		info, err := Inspect(wasm)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range info.Exports {
			if e.Kind != KindFunc || len(e.Sig.Params) > 0 {
				continue
			}
			t.Run(name+" "+e.Name, func(t *testing.T) {
				if end := agree(t, wasm, RunArgs{Entry: e.Name, MemoryLimit: fuzzMemory}); strings.HasPrefix(end, "refused") {
					t.Error(end)
				}
			})
		}
	}
}

// Each way to trap has one name, whatever the engine.
func TestTrapsHaveOneName(t *testing.T) {
	const before = `(module (memory 1) (table $t 2 funcref) (elem $e func 0) (data $d "ab") (type $v (func))
		(func $f) (func (export "_start") `
	for _, c := range []struct{ body, reason string }{
		{`(drop (i32.load8_u (i32.const 65536)))`, "out of bounds memory access"},
		{`(drop (i64.load offset=4294967288 (i32.const -1)))`, "out of bounds memory access"},
		{`(drop (v128.load offset=4294967295 (i32.const -1)))`, "out of bounds memory access"},
		{`(drop (i32.load8_u (i32.const -1)))`, "out of bounds memory access"},
		{`(i64.store (i32.const 65529) (i64.const 1))`, "out of bounds memory access"},
		{`(memory.fill (i32.const 65535) (i32.const 0) (i32.const 2))`, "out of bounds memory access"},
		{`(memory.copy (i32.const 0) (i32.const 1) (i32.const -1))`, "out of bounds memory access"},
		{`(memory.init $d (i32.const 0) (i32.const 1) (i32.const 2))`, "out of bounds memory access"},
		{`(drop (table.get $t (i32.const 2)))`, "invalid table access"},
		{`(table.set $t (i32.const -1) (ref.null func))`, "invalid table access"},
		{`(table.fill $t (i32.const 1) (ref.null func) (i32.const 2))`, "invalid table access"},
		{`(table.copy (i32.const 0) (i32.const 1) (i32.const 2))`, "invalid table access"},
		{`(table.init $e (i32.const 0) (i32.const 0) (i32.const 2))`, "invalid table access"},
		{`(call_indirect (type $v) (i32.const 0))`, "invalid table access"},
		{`(call_indirect (type $v) (i32.const 2))`, "invalid table access"},
		{`(drop (i32.rem_u (i32.const 1) (i32.const 0)))`, "integer divide by zero"},
		{`(drop (i64.div_u (i64.const 1) (i64.const 0)))`, "integer divide by zero"},
		{`(drop (i64.div_s (i64.const 0x8000000000000000) (i64.const -1)))`, "integer overflow"},
		{`(drop (i32.trunc_f64_u (f64.const -1)))`, "integer overflow"},
		{`(drop (i64.trunc_f32_s (f32.const inf)))`, "integer overflow"},
		{`(drop (i64.trunc_f64_u (f64.const nan)))`, "invalid conversion to integer"},
		{`(drop (i32.atomic.load (i32.const 2)))`, "unaligned atomic"},
		{`(drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const 0)))`, "expected shared memory"},
		{`unreachable`, "unreachable"},
	} {
		t.Run(c.body, func(t *testing.T) {
			end := agree(t, watText(t, before+c.body+"))", "--enable-threads"), RunArgs{})
			if want := "trap: " + c.reason + ", host's error false"; end != want {
				t.Errorf("got %q, want %q", end, want)
			}
		})
	}
}

// throwing is a module whose function 0 throws and whose _start calls it; with
// start it does so before _start.
func throwing(start bool) []byte {
	out := header + "\x01\x08\x02\x60\x01\x7f\x00\x60\x00\x00" + // (i32)->(), ()->()
		"\x03\x03\x02\x01\x01" + "\x0d\x03\x01\x00\x00" + "\x07\x0a\x01\x06_start\x00\x01"
	if start {
		out += "\x08\x01\x00"
	}
	return []byte(out + "\x0a\x0d\x02\x06\x00\x41\x05\x08\x00\x0b\x04\x00\x10\x00\x0b")
}

// An exception that nobody catches has no trap code in wasmtime.
func TestUncaughtException(t *testing.T) {
	for _, start := range []bool{false, true} {
		for _, limit := range []uint64{0, wasmPage} {
			if end := agree(t, throwing(start), RunArgs{MemoryLimit: limit}); end != "trap: uncaught exception, host's error false" {
				t.Errorf("start section %v, limit %d: %s", start, limit, end)
			}
		}
	}
}

// catching sets local 0 to 7 in a try_table, throws, and gives the local to
// host.put behind the catch.
const catching = header + "\x01\x08\x02\x60\x01\x7f\x00\x60\x00\x00" + "\x02\x0c\x01\x04host\x03put\x00\x00" +
	"\x03\x02\x01\x01" + "\x0d\x03\x01\x00\x01" + "\x07\x0a\x01\x06_start\x00\x01" +
	"\x0a\x19\x01\x17\x01\x01\x7f\x02\x40\x1f\x40\x01\x02\x00\x41\x07\x21\x00\x08\x00\x0b\x0b\x20\x00\x10\x00\x0b"

// What was written to locals before an exception stays written: wazero's
// compiler forgets it.
func TestLocalsBehindACatch(t *testing.T) {
	everyWay(t, []byte(catching), func(t *testing.T, m Module) {
		var got []uint32
		if err := m.Run(context.Background(), RunArgs{Funcs: []abi.Func{recorder(&got)}}); err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(got) != "[7]" {
			t.Errorf("the local is %v, want [7]", got)
		}
	})
}
