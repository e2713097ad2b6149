//go:build wasmtime

package aot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/runw/runw/pkg/hostfuncs/abi"
	"golang.org/x/sys/unix"
)

// growing tries to grow its memory by more and more pages, all the same or not,
// and reports what each memory.grow gave, then the size.
func growing(memory, index, convert string) string {
	grow := func(n int) string {
		return fmt.Sprintf("(call $put (%s (memory.grow (%s.const %d))))", convert, index, n)
	}
	return `(module (import "host" "put" (func $put (param i32))) ` + memory + ` (func (export "_start") ` +
		grow(1) + grow(1) + grow(1) + grow(100000) + grow(-1) + fmt.Sprintf("(call $put (%s (memory.size)))))", convert)
}

// RunArgs.MemoryLimit holds for memories of both widths, but not for shared
// ones: those end at their maximum.
func TestWasmtimeMemoryLimit(t *testing.T) {
	const wrap, same = "i32.wrap_i64", "i32.add (i32.const 0)"
	for _, c := range []struct{ name, wat string }{
		{"32 bits", growing(`(memory 1)`, "i32", same)},
		{"64 bits", growing(`(memory i64 1)`, "i64", wrap)},
		{"64 bits with a maximum", growing(`(memory i64 1 0x1000000000000)`, "i64", wrap)},
	} {
		t.Run(c.name, func(t *testing.T) {
			wasm := watText(t, c.wat, "--enable-memory64", "--enable-threads")
			onWasmtime(t, wasm, func(t *testing.T, m Module) {
				for limit, want := range map[uint64]string{
					3 * wasmPage:    "[1 2 4294967295 4294967295 4294967295 3]",
					3*wasmPage - 1:  "[1 4294967295 4294967295 4294967295 4294967295 2]",
					1000 * wasmPage: "[1 2 3 4294967295 4294967295 4]",
				} {
					var got []uint32
					if err := m.Run(context.Background(), RunArgs{Funcs: []abi.Func{recorder(&got)}, MemoryLimit: limit}); err != nil {
						t.Fatal(err)
					}
					if fmt.Sprint(got) != want {
						t.Errorf("limit %d: got %v, want %s", limit, got, want)
					}
				}
			})
		})
	}
}

func TestWasmtimeSharedMemoryMaximum(t *testing.T) {
	wasm := watText(t, growing(`(memory (export "memory") 1 3 shared)`, "i32", "i32.add (i32.const 0)"), "--enable-threads")
	onWasmtime(t, wasm, func(t *testing.T, m Module) {
		var got []uint32
		if err := m.Run(context.Background(), RunArgs{Funcs: []abi.Func{recorder(&got)}, MemoryLimit: 2 * wasmPage}); err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(got) != "[1 2 4294967295 4294967295 4294967295 3]" {
			t.Errorf("got %v, want the declared maximum of 3 pages", got)
		}
	})
}

// The limit holds for each of several memories, and for what one starts with.
func TestWasmtimeMemoryLimitOfEach(t *testing.T) {
	wasm := watText(t, `(module (import "host" "put" (func $put (param i32))) (memory $a 1) (memory $b 2)
		(func (export "_start") (call $put (memory.grow $a (i32.const 2))) (call $put (memory.grow $a (i32.const 1)))
			(call $put (memory.grow $b (i32.const 2))) (call $put (memory.grow $b (i32.const 1)))))`, "--enable-multi-memory")
	onWasmtime(t, wasm, func(t *testing.T, m Module) {
		var got []uint32
		if err := m.Run(context.Background(), RunArgs{Funcs: []abi.Func{recorder(&got)}, MemoryLimit: 3 * wasmPage}); err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(got) != "[1 4294967295 4294967295 2]" {
			t.Errorf("got %v, want each memory to end at 3 pages", got)
		}
		if err := m.Run(context.Background(), RunArgs{Funcs: []abi.Func{recorder(&got)}, MemoryLimit: wasmPage}); err == nil {
			t.Error("a second memory of two pages starts under a limit of one")
		}
	})
}

// A guest with a shared memory runs alone, with its atomics; host functions see
// what it stores and write what it reads.
func TestWasmtimeSharedMemory(t *testing.T) {
	wasm := watText(t, `(module (import "host" "put" (func $put (param i32))) (memory (export "memory") 1 4 shared)
		(func (export "_start")
			(i32.atomic.store (i32.const 8) (i32.const 41))
			(call $put (i32.atomic.rmw.add (i32.const 8) (i32.const 1)))
			(call $put (i32.atomic.load (i32.const 8)))
			(call $put (memory.atomic.wait32 (i32.const 8) (i32.const 0) (i64.const -1)))
			(call $put (memory.atomic.wait32 (i32.const 8) (i32.const 44) (i64.const 1000)))
			(call $put (memory.atomic.notify (i32.const 8) (i32.const 1)))
			(drop (memory.grow (i32.const 1)))
			(i32.store (i32.const 131068) (i32.const 5))
			(call $put (i32.load (i32.const 131068)))))`, "--enable-threads")
	onWasmtime(t, wasm, func(t *testing.T, m Module) {
		for range 2 { // the memory does not outlive the guest
			var got []uint32
			add := hostFn("host", "put", "i", "", func(mem abi.Memory, s []uint64) error {
				v, ok := mem.Uint32(8)
				if got = append(got, uint32(s[0])); !ok || !mem.PutUint32(8, v+1) {
					return errors.New("no memory")
				}
				return nil
			})
			if err := m.Run(context.Background(), RunArgs{Funcs: []abi.Func{add}}); err != nil {
				t.Fatal(err)
			}
			// The second wait finds 44 (42 and two calls, then a third) and times out, or not equal.
			if fmt.Sprint(got) != "[41 43 1 1 0 5]" {
				t.Errorf("got %v", got)
			}
		}
	})
}

// narrowEnv makes the test binary open artifacts with little address space.
const narrowEnv = "RUNW_AOT_NARROW"

// Code for much address space and for little is kept apart; whoever gets the
// wrong one says so and compiles.
func TestWasmtimeNarrow(t *testing.T) {
	const limit = 4 << 30
	wasm := watText(t, growWat)
	if dir := os.Getenv(narrowEnv); dir != "" {
		if err := unix.Setrlimit(unix.RLIMIT_AS, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
			t.Fatal(err)
		}
		fmt.Println(openBoth(t, dir, wasm))
		return
	}
	wide, narrow := &wasmtimeEngine{}, &wasmtimeEngine{narrow: true}
	if wide.fingerprint() == narrow.fingerprint() {
		t.Errorf("one fingerprint for both: %s", wide.fingerprint())
	}
	dir := t.TempDir()
	for name, space := range map[string]uint64{"wide": 0, "narrow": limit} {
		a, err := Ensure(context.Background(), EnsureArgs{Wasm: wasm, Engine: "wasmtime", AddressSpace: space, Warn: noWarn(t)})
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d", a.File.Fd()))
		if err == nil {
			err = os.WriteFile(dir+"/"+name, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		a.File.Close()
	}
	if got := openBoth(t, dir, wasm); got != "wide: fits, narrow: stale" {
		t.Errorf("with much address space: %s", got)
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestWasmtimeNarrow$")
	cmd.Env = append(os.Environ(), narrowEnv+"="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "wide: stale, narrow: fits") {
		t.Errorf("with little address space: %v\n%s", err, out)
	}
}

// openBoth opens the two artifacts and runs both guests to their end.
func openBoth(t *testing.T, dir string, wasm []byte) string {
	var said []string
	for _, name := range []string{"wide", "narrow"} {
		f, err := os.Open(dir + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		state := "fits"
		m := open(t, OpenArgs{Engine: "wasmtime", Wasm: wasm, Artifact: f, Warn: func(err error) {
			if state = "stale"; !errors.Is(err, ErrStale) || !strings.Contains(err.Error(), "compiling in memory") {
				t.Errorf("warning: %v, want ErrStale", err)
			}
		}})
		said = append(said, name+": "+state)
		var got []uint32
		if err := m.Run(context.Background(), RunArgs{Funcs: []abi.Func{recorder(&got)}}); err != nil {
			t.Error(err)
		}
		if fmt.Sprint(got) != "[2 4 5 77]" {
			t.Errorf("%s: the guest saw %v", name, got)
		}
		wantTrap(t, m.Run(context.Background(), RunArgs{Entry: "past", Funcs: []abi.Func{recorder(&got)}}), "out of bounds memory access")
	}
	return strings.Join(said, ", ")
}
