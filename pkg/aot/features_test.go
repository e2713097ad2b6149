package aot

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/runw/runw/pkg/hostfuncs/abi"
)

// feature is a row of the README's table of proposals. The module calls host.put(42); an
// engine in without refuses it and names it so.
type feature struct {
	name    string // in the table
	says    string // in the error of an engine without it
	module  func(testing.TB) []byte
	without []string
}

const putImport = `(import "host" "put" (func $put (param i32)))`

// inText is a module in the text format, with the flags that wat2wasm needs.
func inText(text string, flags ...string) func(testing.TB) []byte {
	return func(t testing.TB) []byte { return watText(t, "(module "+putImport+text+")", flags...) }
}

// inBytes is a module that Debian's wat2wasm cannot make. Type 0 is (i32)->(), type 1 ()->();
// more types follow. Function 0 is host.put, function 1 is _start with the given body; more
// functions follow, each a type and a body. Sections are inserted by their number.
func inBytes(types []string, body string, more [][2]string, sections map[byte]string) func(testing.TB) []byte {
	return func(testing.TB) []byte {
		all := append([]string{"\x60\x01\x7f\x00", "\x60\x00\x00"}, types...)
		funcs, code := []string{"\x01"}, []string{"\x00" + body + "\x0b"}
		for _, m := range more {
			funcs, code = append(funcs, m[0]), append(code, "\x00"+m[1]+"\x0b")
		}
		for i, c := range code {
			code[i] = string(binary.AppendUvarint(nil, uint64(len(c)))) + c
		}
		have := map[byte]string{
			secType: vector(all), secImport: "\x01\x04host\x03put\x00\x00", secFunction: vector(funcs),
			secExport: "\x02\x06_start\x00\x01\x01f\x00" + string(rune(len(funcs))), secCode: vector(code),
		}
		for id, s := range sections {
			have[id] = s
		}
		out := []byte(header)
		for rank := byte(1); int(rank) < len(sectionRank)+1; rank++ {
			for id, r := range sectionRank {
				if s, ok := have[byte(id)]; ok && r == rank {
					out = appendSection(out, byte(id), []byte(s))
				}
			}
		}
		return out
	}
}

func vector(items []string) string {
	return string(rune(len(items))) + strings.Join(items, "")
}

const put42 = "\x41\x2a\x10\x00"

var features = []feature{
	{"multi-value", "", inText(`(func $two (result i32 i32) (i32.const 40) (i32.const 2)) (func (export "_start") (call $two) (i32.add) (call $put))`), nil},
	{"sign extension", "", inText(`(func (export "_start") (call $put (i32.sub (i32.const 41) (i32.extend8_s (i32.const 255)))))`), nil},
	{"non-trapping float-to-int", "", inText(`(func (export "_start") (call $put (i32.add (i32.const 42) (i32.trunc_sat_f32_u (f32.const -1)))))`), nil},
	{"bulk memory", "", inText(`(memory 1) (func (export "_start") (memory.fill (i32.const 8) (i32.const 42) (i32.const 1)) (memory.copy (i32.const 9) (i32.const 8) (i32.const 1))
		(call $put (i32.load8_u (i32.const 9))))`), nil},
	{"reference types", "", inText(`(table $t 2 externref) (func (export "_start") (call $put (i32.add (i32.const 41) (ref.is_null (table.get $t (i32.const 1))))))`), nil},
	{"SIMD", "", inText(`(func (export "_start") (call $put (i32x4.extract_lane 2 (i32x4.add (v128.const i32x4 1 2 40 4) (v128.const i32x4 0 0 2 0)))))`), nil},
	{"relaxed SIMD", "relaxed SIMD", inBytes(nil, "\xfd\x0c\x2a\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"+ // v128.const 42
		"\xfd\x0c"+strings.Repeat("\x00", 16)+"\xfd\x80\x02"+ // v128.const 0, i8x16.relaxed_swizzle
		"\xfd\x15\x00\x10\x00", nil, nil), []string{"wazero"}}, // i8x16.extract_lane_s 0
	{"extended constant expressions", "", inText(`(global $g i32 (i32.add (i32.const 40) (i32.const 2))) (func (export "_start") (call $put (global.get $g)))`, "--enable-extended-const"), nil},
	{"tail calls", "", inText(`(func $f (param i32) (return_call $put (local.get 0))) (func (export "_start") (return_call $f (i32.const 42)))`, "--enable-tail-call"), nil},
	{"exceptions (exnref)", "", inBytes([]string{"\x60\x01\x7f\x00"}, "\x02\x7f\x1f\x40\x01\x00\x00\x00\x41\x2a\x08\x00\x0b\x00\x0b\x10\x00", nil, map[byte]string{secTag: "\x01\x00\x02"}), nil},
	{"exceptions (legacy)", "legacy exceptions", inText(`(tag $e) (func (export "_start") try throw $e catch $e (call $put (i32.const 42)) end)`, "--enable-exceptions"), []string{"wasmtime", "wazero"}},
	{"typed function references", "", inBytes([]string{"\x60\x00\x01\x7f"}, "\xd2\x02\x14\x02\x10\x00", [][2]string{{"\x02", "\x41\x2a"}}, nil), nil},
	{"garbage collection", "GC", inBytes([]string{"\x5f\x01\x7f\x01"}, "\x41\x2a\xfb\x00\x02\xfb\x02\x02\x00\x10\x00", nil, nil), []string{"wazero"}},
	{"GC in constants", "GC", inBytes([]string{"\x5f\x01\x7f\x00", "\x5e\x7f\x00"}, "\x23\x00\xfb\x02\x02\x00\x23\x01\x41\x00\xfb\x0b\x03\x6a\x10\x00", nil,
		map[byte]string{secGlobal: "\x02\x64\x02\x00\x41\x28\xfb\x00\x02\x0b" + "\x64\x03\x00\x41\x02\xfb\x08\x03\x01\x0b"}), []string{"wazero"}},
	{"threads (shared memory, atomics)", "", inText(`(memory 1 1 shared) (func (export "_start") (drop (i32.atomic.rmw.add (i32.const 8) (i32.const 42))) (call $put (i32.atomic.load (i32.const 8))))`, "--enable-threads"), nil},
	{"memory64", "memory64", inText(`(memory i64 1) (func (export "_start") (i32.store (i64.const 8) (i32.const 42)) (call $put (i32.load (i64.const 8))))`, "--enable-memory64"), []string{"wazero"}},
	{"multi-memory", "multi-memory", inBytes(nil, "\x41\x08\x41\x2a\x36\x42\x01\x00\x41\x08\x28\x42\x01\x00\x10\x00", nil, map[byte]string{secMemory: "\x02\x00\x01\x00\x01"}), []string{"wazero"}},
	{"wide arithmetic", "wide arithmetic", inBytes(nil, "\x42\x06\x42\x07\xfc\x16\x1a\xa7\x10\x00", nil, nil), []string{"wazero"}},
	{"custom page sizes", "custom page sizes", inBytes(nil, put42, nil, map[byte]string{secMemory: "\x01\x08\x01\x00"}), []string{"wasmtime", "wazero"}},
	{"stack switching", "stack switching", inBytes([]string{"\x5d\x01"}, put42, nil, nil), []string{"wasmtime", "wazero"}},
	{"component model", "component", func(testing.TB) []byte { return []byte("\x00asm\x0d\x00\x01\x00") }, []string{"wasmtime", "wazero"}},
}

func (f *feature) has(engine string) bool {
	for _, w := range f.without {
		if w == engine {
			return false
		}
	}
	return true
}

// Each engine runs the module with the right result, or refuses it by the feature's name,
// when the container is created and when it starts.
func TestFeatures(t *testing.T) {
	for _, f := range features {
		t.Run(f.name, func(t *testing.T) {
			wasm := f.module(t)
			for _, engine := range testEngines() {
				if f.has(engine) {
					f.runs(t, engine, wasm)
				} else {
					f.refused(t, engine, wasm)
				}
			}
		})
	}
}

func (f *feature) runs(t *testing.T, engine string, wasm []byte) {
	t.Helper()
	a, err := Ensure(context.Background(), EnsureArgs{Engine: engine, Wasm: wasm, Warn: noWarn(t)})
	if err != nil {
		t.Errorf("%s: %v", engine, err)
		return
	}
	if a.File != nil {
		defer a.File.Close()
	}
	var got []uint32
	m := open(t, OpenArgs{Engine: engine, Wasm: wasm, Artifact: a.File})
	if err := m.Run(context.Background(), RunArgs{Funcs: []abi.Func{recorder(&got)}}); err != nil || fmt.Sprint(got) != "[42]" {
		t.Errorf("%s: put %v, %v", engine, got, err)
	}
}

func (f *feature) refused(t *testing.T, engine string, wasm []byte) {
	t.Helper()
	_, ensure := Ensure(context.Background(), EnsureArgs{Engine: engine, Wasm: wasm})
	_, open := Open(context.Background(), OpenArgs{Engine: engine, Wasm: wasm})
	for when, err := range map[string]error{"Ensure": ensure, "Open": open} {
		if !errors.Is(err, ErrUnsupported) && !errors.Is(err, ErrComponent) || !strings.Contains(err.Error(), f.says) {
			t.Errorf("%s, %s: %v, want ErrUnsupported with %q", engine, when, err, f.says)
		}
	}
}

// The README's table says what the engines do.
func TestFeaturesInReadme(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile(`(?m)^\| ([^|]+?) \| (yes|no) \| (yes|no) \|$`)
	told := map[string][2]string{}
	for _, m := range row.FindAllStringSubmatch(string(readme), -1) {
		told[m[1]] = [2]string{m[2], m[3]}
	}
	word := map[bool]string{true: "yes", false: "no"}
	for _, f := range features {
		want := [2]string{word[f.has("wasmtime")], word[f.has("wazero")]}
		if told[f.name] != want {
			t.Errorf("README has %q for %q, want | %s | %s | %s |", told[f.name], f.name, f.name, want[0], want[1])
		}
		delete(told, f.name)
	}
	for name := range told {
		t.Errorf("README has a row %q that is no feature", name)
	}
}
