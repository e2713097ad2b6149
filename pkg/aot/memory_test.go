package aot

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/runw/runw/pkg/hostfuncs/abi"
	"golang.org/x/sys/unix"
)

const growWat = `(module (import "host" "put" (func $put (param i32))) (memory (export "memory") 2)
	(func (export "_start")
		(call $put (memory.grow (i32.const 2)))
		(i32.store (i32.const 262140) (i32.const 77))
		(call $put (memory.grow (i32.const 1)))
		(call $put (memory.size))
		(call $put (i32.load (i32.const 262140))))
	(func (export "past") (drop (i32.load (i32.const 262144)))))`

func TestMemoryLimit(t *testing.T) {
	for limit, want := range map[uint64]string{
		0:            "[2 4 5 77]",
		4 * wasmPage: "[2 4294967295 4 77]",
		327679:       "[2 4294967295 4 77]", // no part of a page
		5 * wasmPage: "[2 4 5 77]",
		1 << 40:      "[2 4 5 77]",
	} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			everyWay(t, watText(t, growWat), func(t *testing.T, m Module) {
				var got []uint32
				var addr []*byte
				put := hostFn("host", "put", "i", "", func(mem abi.Memory, s []uint64) error {
					got, addr = append(got, uint32(s[0])), append(addr, &mem[0])
					return nil
				})
				if err := m.Run(context.Background(), RunArgs{Funcs: []abi.Func{put}, MemoryLimit: limit}); err != nil {
					t.Fatal(err)
				}
				if fmt.Sprint(got) != want {
					t.Errorf("got %v, want %s", got, want)
				}
				for _, a := range addr {
					if a != addr[0] {
						t.Error("the memory moved")
					}
				}
			})
		})
	}
}

func TestMemoryLimitBelowTheStart(t *testing.T) {
	everyWay(t, watText(t, growWat), func(t *testing.T, m Module) {
		err := m.Run(context.Background(), RunArgs{Funcs: []abi.Func{recorder(new([]uint32))}, MemoryLimit: wasmPage})
		if err == nil || !strings.Contains(err.Error(), "needs 131072 bytes") || !strings.Contains(err.Error(), "allowed are 65536") {
			t.Errorf("got %v, want both sizes", err)
		}
	})
}

// wazero cannot have all of 4 GiB: the last page is refused, not given and
// then lost. wasmtime can.
func TestWholeAddressSpace(t *testing.T) {
	wasm := watText(t, `(module (import "host" "put" (func $put (param i32))) (memory 1)
		(func (export "_start")
			(call $put (memory.grow (i32.const 65535)))
			(call $put (memory.grow (i32.const 65534)))
			(i32.store (i32.const -65540) (i32.const 5)) (call $put (i32.load (i32.const -65540)))))`)
	everyWay(t, wasm, func(t *testing.T, m Module) {
		var got []uint32
		var size int
		put := hostFn("host", "put", "i", "", func(mem abi.Memory, s []uint64) error {
			got, size = append(got, uint32(s[0])), len(mem)
			return nil
		})
		if err := m.Run(context.Background(), RunArgs{Funcs: []abi.Func{put}}); err != nil {
			t.Fatal(err)
		}
		want, bytes := "[4294967295 1 5]", 1<<32-wasmPage
		if _, ok := m.(*wazeroModule); !ok {
			want, bytes = "[1 4294967295 5]", 1<<32
		}
		if fmt.Sprint(got) != want || size != bytes {
			t.Errorf("got %v with %d bytes, want %s with %d", got, size, want, bytes)
		}
	})
	everyWay(t, watText(t, `(module (memory 65536) (func (export "_start")))`), func(t *testing.T, m Module) {
		_, isWazero := m.(*wazeroModule)
		err := m.Run(context.Background(), RunArgs{})
		if isWazero && (err == nil || !strings.Contains(err.Error(), "needs 4294967296 bytes")) || !isWazero && err != nil {
			t.Errorf("got %v, want a refusal with the size from wazero alone", err)
		}
	})
}

func mappedBytes(t *testing.T) (n uint64) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range bytes.Split(b, []byte("\n")) {
		var lo, hi uint64
		if c, _ := fmt.Sscanf(string(l), "%x-%x", &lo, &hi); c == 2 {
			n += hi - lo
		}
	}
	return
}

func TestMemoryIsGivenBack(t *testing.T) {
	wasm := watText(t, growWat)
	a := ensure(t, testStore(t), wasm)
	m := open(t, OpenArgs{Wasm: wasm, Artifact: a.File})
	before := mappedBytes(t)
	for range 4 {
		if err := m.Run(context.Background(), RunArgs{Funcs: []abi.Func{recorder(new([]uint32))}}); err != nil {
			t.Fatal(err)
		}
	}
	if after := mappedBytes(t); after > before+1<<30 {
		t.Errorf("%d bytes of address space before four runs, %d after", before, after)
	}
}

// Under RLIMIT_AS the reservation shrinks and growing ends with -1.
func TestAddressSpaceLimit(t *testing.T) {
	engine := os.Getenv("RUNW_AOT_RLIMIT")
	if engine == "" {
		for _, engine := range Engines() {
			cmd := exec.Command("/proc/self/exe", "-test.run=^TestAddressSpaceLimit$", "-test.v")
			cmd.Env = append(os.Environ(), "RUNW_AOT_RLIMIT="+engine)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", engine, err, out)
			}
		}
		return
	}
	wasm := watText(t, `(module (import "host" "put" (func $put (param i32))) (memory 1)
		(func (export "_start")
			(loop (br_if 0 (i32.ne (memory.grow (i32.const 64)) (i32.const -1)))) (call $put (memory.size))))`)
	const limit = 3 << 30
	a, err := Ensure(context.Background(), EnsureArgs{Wasm: wasm, Engine: engine, AddressSpace: limit})
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_AS, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
		t.Fatal(err)
	}
	var got []uint32
	if err := open(t, OpenArgs{Engine: engine, Wasm: wasm, Artifact: a.File}).Run(context.Background(), RunArgs{Funcs: []abi.Func{recorder(&got)}}); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || uint64(got[0])*wasmPage > limit/2 || uint64(got[0])*wasmPage < limit/8 {
		t.Errorf("the guest got %v pages of an address space of %d", got, limit/wasmPage)
	}
}
