//go:build wasmtime

package aot

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/runw/runw/pkg/hostfuncs/abi"
	"golang.org/x/sys/unix"
)

// smap is an entry of /proc/self/smaps.
type smap struct {
	perms string
	inode uint64
	kB    map[string]int
}

func smaps(t *testing.T) (out []smap) {
	t.Helper()
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.Fields(s.Text())
		if !strings.HasSuffix(fields[0], ":") {
			m := smap{perms: fields[1], kB: map[string]int{}}
			fmt.Sscan(fields[4], &m.inode)
			out = append(out, m)
			continue
		}
		var n int
		if c, _ := fmt.Sscan(fields[1], &n); c == 1 {
			out[len(out)-1].kB[fields[0]] = n
		}
	}
	return out
}

// Native code stays the file's: no page of it is written to or copied, so that
// containers share it.
func TestWasmtimeCodeIsMapped(t *testing.T) {
	wasm := slowModule(t, 0)
	a := ensureFor(t, "wasmtime", testStore(t), wasm)
	var st unix.Stat_t
	if err := unix.Fstat(int(a.File.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	m := open(t, OpenArgs{Engine: "wasmtime", Wasm: wasm, Artifact: a.File})
	if err := m.Run(context.Background(), RunArgs{}); err != nil {
		t.Fatal(err)
	}
	code := 0
	for _, m := range smaps(t) {
		if m.inode != st.Ino {
			continue
		}
		if strings.Contains(m.perms, "w") {
			t.Errorf("the artifact is mapped %s", m.perms)
		}
		if m.kB["Private_Dirty:"] != 0 || m.kB["Anonymous:"] != 0 {
			t.Errorf("mapping %s: %d kB dirty, %d kB copied", m.perms, m.kB["Private_Dirty:"], m.kB["Anonymous:"])
		}
		if m.perms == "r-xp" {
			code += m.kB["Size:"]
		}
	}
	if code < 100 {
		t.Errorf("%d kB of code mapped from the file", code)
	}
}

// What wasmtime shows its host is exports only; what host functions see is the
// memory named "memory", else the first, exported or not.
func TestWasmtimeMemoryOfTheHost(t *testing.T) {
	const put = `(import "host" "put" (func $put (param i32)))`
	for _, c := range []struct {
		name, wat string
		size      int
		first     byte
	}{
		{"not exported", `(memory 1) (data (i32.const 0) "\01")`, wasmPage, 1},
		{"exported by another name", `(memory (export "m") 1) (data (i32.const 0) "\02")`, wasmPage, 2},
		{"the second is the one", `(memory $a 1) (memory $b (export "memory") 2) (data (i32.const 0) "\03") (data (memory $b) (i32.const 0) "\04")`, 2 * wasmPage, 4},
		{"none is exported, two are there", `(memory $a 1) (memory $b 2) (data (i32.const 0) "\05") (data (memory $b) (i32.const 0) "\06")`, wasmPage, 5},
		{"memory is a function", `(memory 1) (data (i32.const 0) "\07") (func (export "memory"))`, wasmPage, 7},
		{"of 64 bits", `(memory i64 1) (data (i64.const 0) "\08")`, wasmPage, 8},
		{"shared", `(memory (export "memory") 1 3 shared) (data (i32.const 0) "\09")`, wasmPage, 9},
		{"none", ``, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			wasm := watText(t, "(module "+put+c.wat+`(func (export "_start") (call $put (i32.const 1))))`, "--enable-memory64", "--enable-multi-memory", "--enable-threads")
			onWasmtime(t, wasm, func(t *testing.T, m Module) {
				var got []byte
				size := -1
				look := hostFn("host", "put", "i", "", func(mem abi.Memory, _ []uint64) error {
					size, got = len(mem), append([]byte(nil), mem[:min(1, len(mem))]...)
					return nil
				})
				if err := m.Run(context.Background(), RunArgs{Funcs: []abi.Func{look}}); err != nil {
					t.Fatal(err)
				}
				if size != c.size || size > 0 && got[0] != c.first {
					t.Errorf("the host sees %d bytes, %v; want %d, [%d]", size, got, c.size, c.first)
				}
			})
		})
	}
}

// onWasmtime is everyWay for one engine.
func onWasmtime(t *testing.T, wasm []byte, f func(t *testing.T, m Module)) {
	t.Helper()
	t.Run("artifact", func(t *testing.T) {
		a := ensureFor(t, "wasmtime", testStore(t), wasm)
		f(t, open(t, OpenArgs{Engine: "wasmtime", Wasm: wasm, Artifact: a.File}))
	})
	t.Run("memory", func(t *testing.T) { f(t, open(t, OpenArgs{Engine: "wasmtime", Wasm: wasm})) })
}

func TestWasmtimeOneNameTwoTypes(t *testing.T) {
	wasm := watText(t, `(module (import "host" "f" (func $a (param i32) (result i64))) (import "host" "f" (func $b (param f64)))
		(func (export "_start") (call $b (f64.convert_i64_s (call $a (i32.const 4))))))`)
	var got []string
	note := func(name string) func(abi.Memory, []uint64) error {
		return func(_ abi.Memory, s []uint64) error {
			if name == "i32" {
				s[0] = uint64(uint32(s[0])) // the high half is undefined
			}
			got = append(got, fmt.Sprintf("%s %#x", name, s[0]))
			s[0] = 1 << 40
			return nil
		}
	}
	funcs := []abi.Func{hostFn("host", "f", "F", "", note("f64")), hostFn("host", "f", "i", "I", note("i32"))}
	onWasmtime(t, wasm, func(t *testing.T, m Module) {
		got = nil
		if err := m.Run(context.Background(), RunArgs{Funcs: funcs}); err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(got) != "[i32 0x4 f64 0x4270000000000000]" {
			t.Errorf("calls: %v", got)
		}
	})
}

// nowhere is a variable so that no linter sees what is done with it.
var nowhere *int

// nilDereference is Go's own use of SIGSEGV.
func nilDereference() (err error) {
	defer recovered(&err)
	return fmt.Errorf("%d behind nil", *nowhere)
}

// wasmtime handles SIGSEGV, SIGILL, SIGFPE and SIGBUS of guests and must leave
// Go's to Go, within host functions, on other threads and afterwards.
func TestWasmtimeLeavesGoItsSignals(t *testing.T) {
	wasm := watText(t, `(module (import "host" "fail" (func $fail)) (memory 1)
		(func (export "host") (call $fail)) (func (export "oob") (drop (i32.load (i32.const 65536)))))`)
	m := open(t, OpenArgs{Engine: "wasmtime", Wasm: wasm})
	oob := func() error {
		return m.Run(context.Background(), RunArgs{Entry: "oob", Funcs: []abi.Func{hostFn("host", "fail", "", "", nil)}})
	}
	wantTrap(t, oob(), "out of bounds memory access")
	for name, c := range map[string]struct {
		call   func(abi.Memory, []uint64) error
		reason string
	}{
		"nil":       {func(abi.Memory, []uint64) error { *nowhere = 1; return nil }, "engine panic: runtime error: invalid memory address or nil pointer dereference"},
		"panic":     {func(abi.Memory, []uint64) error { panic("no") }, "engine panic: no"},
		"index":     {func(mem abi.Memory, _ []uint64) error { _ = mem[len(mem)]; return nil }, "engine panic: runtime error: index out of range [65536] with length 65536"},
		"recovered": {func(abi.Memory, []uint64) error { return nilDereference() }, "engine panic: runtime error: invalid memory address or nil pointer dereference"},
	} {
		err := m.Run(context.Background(), RunArgs{Entry: "host", Funcs: []abi.Func{hostFn("host", "fail", "", "", c.call)}})
		wantTrap(t, err, c.reason)
		if err := nilDereference(); err == nil || !strings.Contains(err.Error(), "nil pointer") {
			t.Errorf("%s: Go's own nil pointer: %v", name, err)
		}
		wantTrap(t, oob(), "out of bounds memory access")
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			runtime.LockOSThread() // a thread that has run no guest
			if err := nilDereference(); err == nil || !strings.Contains(err.Error(), "nil pointer") {
				t.Errorf("on another thread: %v", err)
			}
		})
	}
	wg.Wait()
}

func wantTrap(t *testing.T, err error, reason string) {
	t.Helper()
	var trap *TrapError
	if !errors.As(err, &trap) || trap.Reason != reason {
		t.Errorf("got %v, want a trap %q", err, reason)
	}
}

// Names in a backtrace are those of the source, of C++ and of Rust.
func TestWasmtimeNames(t *testing.T) {
	wasm := watText(t, `(module (func $_ZN5probe4main17hf2e157dbf0a0b01fE unreachable) (func $_ZN3Foo3barEi (param i32) (call 0))
		(func $plain (call 1 (i32.const 0))) (export "_start" (func 2)))`, "--debug-names")
	onWasmtime(t, wasm, func(t *testing.T, m Module) {
		var trap *TrapError
		if err := m.Run(context.Background(), RunArgs{}); !errors.As(err, &trap) || trap.Reason != "unreachable" {
			t.Fatal(err)
		}
		var names []string
		for _, f := range trap.Backtrace {
			name, _, _ := strings.Cut(f, " +")
			names = append(names, name)
		}
		if got := strings.Join(names, ", "); got != "probe::main::hf2e157dbf0a0b01f, Foo::bar(int), plain" {
			t.Errorf("got %s", got)
		}
	})
}

// Without a line for each frame all names stay as they are. A name that holds lines can
// only pass for other names of its own module.
func TestDemangled(t *testing.T) {
	const head = "error while executing at wasm backtrace:\n"
	for text, want := range map[string]string{
		head + "    0:   0x4b - <unknown>!a\n    1:   0x4c - <unknown>!b!c\n\nCaused by:\n    wasm trap: x!y": `["a" "b!c"]`,
		head + "    0: <unknown>!a\n    1: <unknown>!b":                                                       `["a" "b"]`,
		head + "    0:   0x4b - <unknown>!a":                                                                  `["" ""]`,
		head + "    0: <unknown>!a\n    1: !x\n    1: <unknown>!b":                                            `["a" "x"]`,
		"": `["" ""]`,
	} {
		if got := fmt.Sprintf("%q", demangled(text, 2)); got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
}

// Guests on many threads, each with its own memory, host functions and end.
func TestWasmtimeManyGuests(t *testing.T) {
	const guests, runs = 12, 15
	var wg sync.WaitGroup
	for g := range guests {
		wasm := watText(t, fmt.Sprintf(`(module (import "host" "add" (func $add (param i32 i32) (result i32))) (memory 1) (global $n (mut i32) (i32.const 0))
			(func (export "_start") (local i32)
				(loop (local.set 0 (call $add (local.get 0) (i32.const %d))) (i32.store (local.get 0) (local.get 0))
					(global.set $n (i32.add (global.get $n) (i32.const 1)))
					(br_if 0 (i32.lt_u (global.get $n) (i32.const 500))))
				(drop (i32.div_u (i32.const 1) (i32.sub (i32.load (local.get 0)) (i32.const %d))))))`, g, 500*g))
		m := open(t, OpenArgs{Engine: "wasmtime", Wasm: wasm})
		wg.Go(func() {
			for range runs {
				calls := 0
				add := hostFn("host", "add", "ii", "i", func(mem abi.Memory, s []uint64) error {
					if v, ok := mem.Uint32(uint32(s[0])); !ok || int(uint32(s[0])) != calls*g || calls > 0 && int(v) != calls*g {
						return fmt.Errorf("guest %d: call %d of another guest: %d, %d", g, calls, s[0], v)
					}
					calls++
					s[0] = uint64(uint32(s[0]) + uint32(s[1]))
					return nil
				})
				wantTrap(t, m.Run(context.Background(), RunArgs{Funcs: []abi.Func{add}}), "integer divide by zero")
				if calls != 500 {
					t.Errorf("guest %d: %d calls", g, calls)
				}
			}
		})
	}
	wg.Wait()
}

// stackEnv makes the test binary run TestWasmtimeStacks with so many bytes of
// stack, which takes an exec.
const stackEnv = "RUNW_AOT_STACK"

// However small the stack, and on whatever thread: a guest that recurses traps,
// or is told that there is no room; host calls at the bottom have what they need.
func TestWasmtimeStacks(t *testing.T) {
	if os.Getenv(stackEnv) != "" {
		deepGuests(t)
		return
	}
	for _, size := range []uint64{96 << 10, 256 << 10, 264 << 10, 300 << 10, 400 << 10, 600 << 10, 2300 << 10, 8 << 20, unix.RLIM_INFINITY} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			cmd := exec.Command("/proc/self/exe", "-test.run=^TestWasmtimeStacks$", "-test.v")
			cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", stackEnv, size))
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), "guests ended") {
				t.Errorf("%v\n%s", err, out)
			}
			t.Log(stackSays(string(out)))
		})
	}
}

func stackSays(out string) string {
	_, said, _ := strings.Cut(out, "guests ended: ")
	said, _, _ = strings.Cut(said, "\n")
	return said
}

func deepGuests(t *testing.T) {
	var size uint64
	fmt.Sscan(os.Getenv(stackEnv), &size)
	var rl unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_STACK, &rl); err != nil {
		t.Fatal(err)
	}
	if rl.Cur != size {
		if rl.Max < size {
			t.Skip("guests ended: never started, RLIMIT_STACK is lower already")
		}
		rl.Cur = size
		if err := unix.Setrlimit(unix.RLIMIT_STACK, &rl); err != nil {
			t.Fatal(err)
		}
		t.Fatal(syscall.Exec("/proc/self/exe", os.Args, os.Environ()))
	}
	wasm := watText(t, `(module (import "host" "put" (func $put (param i32)))
		(func $deep (param i32) (call $put (local.get 0)) (call $deep (i32.add (local.get 0) (i32.const 1))) (call $put (i32.const 0)))
		(func $plain (param i32) (call $plain (i32.add (local.get 0) (i32.const 1))) (call $put (i32.const 0)))
		(func (export "_start") (call $deep (i32.const 0))) (func (export "plain") (call $plain (i32.const 0))))`)
	m, err := Open(context.Background(), OpenArgs{Engine: "wasmtime", Wasm: wasm})
	if err != nil && size < 2*wasmtimeStackReserve && strings.Contains(err.Error(), "RLIMIT_STACK") {
		fmt.Println("guests ended: never started")
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	depth := uint32(0)
	put := hostFn("host", "put", "i", "", func(_ abi.Memory, s []uint64) error {
		depth = uint32(s[0])
		if depth%512 == 0 {
			_ = nilDereference() // a signal here has its own stack
			runtime.Gosched()
			_ = fmt.Sprint(os.Getpid(), strings.Repeat("x", 1<<10))
		}
		return nil
	})
	ends := map[string]bool{}
	run := func() {
		for _, entry := range []string{"", "plain"} {
			err := m.Run(context.Background(), RunArgs{Funcs: []abi.Func{put}, Entry: entry})
			var trap *TrapError
			switch {
			case errors.As(err, &trap) && trap.Reason == "stack overflow":
				ends["trap"] = true
			case err != nil && strings.Contains(err.Error(), "RLIMIT_STACK"):
				ends["refused"] = true
			default:
				t.Errorf("entry %q: %v", entry, err)
			}
		}
	}
	run()
	done := make(chan bool)
	go func() { defer close(done); runtime.LockOSThread(); run() }()
	<-done
	fmt.Printf("guests ended: %v, depth %d\n", ends, depth)
}
