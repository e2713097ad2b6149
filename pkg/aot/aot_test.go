package aot

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/runw/runw/pkg/hostfuncs/abi"
)

// wat assembles testdata/<name>.wat.
func wat(t testing.TB, name string, flags ...string) []byte {
	t.Helper()
	tool, err := exec.LookPath("wat2wasm")
	if err != nil {
		t.Skip("wat2wasm (package wabt) is not installed")
	}
	out := filepath.Join(t.TempDir(), "m.wasm")
	args := append(flags, filepath.Join("testdata", name+".wat"), "-o", out)
	if msg, err := exec.Command(tool, args...).CombinedOutput(); err != nil {
		t.Fatalf("wat2wasm %s: %v\n%s", name, err, msg)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// watText assembles text.
func watText(t testing.TB, text string, flags ...string) []byte {
	t.Helper()
	tool, err := exec.LookPath("wat2wasm")
	if err != nil {
		t.Skip("wat2wasm (package wabt) is not installed")
	}
	out := filepath.Join(t.TempDir(), "m.wasm")
	cmd := exec.Command(tool, append(flags, "-", "-o", out)...)
	cmd.Stdin = strings.NewReader(text)
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("wat2wasm: %v\n%s", err, msg)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func testStore(t testing.TB) *Store {
	t.Helper()
	s, err := OpenStore(filepath.Join(t.TempDir(), "aot"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func noWarn(t testing.TB) func(error) {
	return func(err error) { t.Helper(); t.Errorf("unexpected warning: %v", err) }
}

// ensure compiles or finds wasm for the best engine; the file is closed at the
// end of the test.
func ensure(t testing.TB, s *Store, wasm []byte) *Artifact {
	t.Helper()
	return ensureFor(t, testEngines()[0], s, wasm)
}

func ensureFor(t testing.TB, engine string, s *Store, wasm []byte) *Artifact {
	t.Helper()
	a, err := Ensure(context.Background(), EnsureArgs{Wasm: wasm, Engine: engine, Store: s, Warn: noWarn(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.File.Close() })
	return a
}

func open(t testing.TB, a OpenArgs) Module {
	t.Helper()
	if a.Warn == nil {
		a.Warn = noWarn(t)
	}
	m, err := Open(context.Background(), a)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func sig(params, results string) abi.Signature {
	types := func(s string) (out []abi.ValueType) {
		for _, c := range s {
			out = append(out, map[rune]abi.ValueType{'i': abi.I32, 'I': abi.I64, 'f': abi.F32, 'F': abi.F64}[c])
		}
		return out
	}
	return abi.Signature{Params: types(params), Results: types(results)}
}

func hostFn(module, name, params, results string, call func(abi.Memory, []uint64) error) abi.Func {
	return abi.Func{Import: abi.Import{Module: module, Name: name, Sig: sig(params, results)}, Call: call}
}

var procExit = hostFn("wasi_snapshot_preview1", "proc_exit", "i", "", func(_ abi.Memory, s []uint64) error {
	return &abi.ExitError{Code: uint32(s[0])}
})

// testEngines names the engines to test: where nothing can be executable that
// is wazero's interpreter, to which the others resort.
func testEngines() []string {
	if os.Getenv(interpretEnv) != "" {
		return []string{"wazero"}
	}
	return Engines()
}

// everyWay runs f on each engine, with the module opened from an artifact and
// compiled in memory.
func everyWay(t *testing.T, wasm []byte, f func(t *testing.T, m Module)) {
	for _, engine := range testEngines() {
		t.Run(engine+" artifact", func(t *testing.T) {
			a := ensureFor(t, engine, testStore(t), wasm)
			f(t, open(t, OpenArgs{Engine: engine, Wasm: wasm, Artifact: a.File}))
		})
		t.Run(engine+" memory", func(t *testing.T) {
			f(t, open(t, OpenArgs{Engine: engine, Wasm: wasm}))
		})
	}
}

// guestFrames gives the function names of a backtrace without the host's.
func guestFrames(backtrace []string) string {
	var out []string
	for _, f := range backtrace {
		if f = f[:strings.IndexAny(f+" ", "( ")]; !strings.HasPrefix(f, "host.") {
			out = append(out, f)
		}
	}
	return strings.Join(out, ";")
}

func TestExitStatus(t *testing.T) {
	everyWay(t, wat(t, "exit7"), func(t *testing.T, m Module) {
		err := m.Run(context.Background(), RunArgs{Funcs: []abi.Func{procExit}})
		var exit *abi.ExitError
		if !errors.As(err, &exit) || exit.Code != 7 {
			t.Fatalf("got %v, want exit status 7", err)
		}
	})
}

func TestTraps(t *testing.T) {
	errHost := errors.New("the host has failed")
	fail := hostFn("host", "fail", "", "", func(abi.Memory, []uint64) error { return errHost })
	for _, c := range []struct {
		entry, reason string
		frames        string
	}{
		{"oob", "out of bounds memory access", "oob;oob"},
		{"oob_far", "out of bounds memory access", "oob_far"},
		{"unreachable", "unreachable", "unreachable"},
		{"div", "integer divide by zero", "div"},
		{"overflow", "integer overflow", "overflow"},
		{"trunc", "invalid conversion to integer", "trunc"},
		{"null", "invalid table access", "null"},
		{"range", "invalid table access", "range"},
		{"type", "indirect call type mismatch", "type"},
		{"recurse", "stack overflow", ""},
		{"host", "the host has failed", "host"},
	} {
		t.Run(c.entry, func(t *testing.T) {
			everyWay(t, wat(t, "traps", "--debug-names"), func(t *testing.T, m Module) {
				err := m.Run(context.Background(), RunArgs{Funcs: []abi.Func{fail}, Entry: c.entry})
				var trap *TrapError
				if !errors.As(err, &trap) {
					t.Fatalf("got %v, want a trap", err)
				}
				if trap.Reason != c.reason {
					t.Errorf("reason %q, want %q", trap.Reason, c.reason)
				}
				frames := guestFrames(trap.Backtrace)
				if frames != c.frames && c.entry != "recurse" {
					t.Errorf("backtrace %q, want %q", frames, c.frames)
				}
				if !strings.HasPrefix(trap.Text(), "wasm trap: "+c.reason) || strings.Contains(trap.Text(), "goroutine") {
					t.Errorf("text: %s", trap.Text())
				}
				if c.entry == "host" && !errors.Is(err, errHost) {
					t.Error("the host function's error is lost")
				}
				// The instance ends with the guest, the module does not.
				if err := m.Run(context.Background(), RunArgs{Funcs: []abi.Func{fail}}); err != nil {
					t.Errorf("second run: %v", err)
				}
			})
		})
	}
}

// Where nothing can be executable, wazero's interpreter has to pass the same
// tests.
func TestInterpreter(t *testing.T) {
	cmd := exec.Command("/proc/self/exe", "-test.run=^(TestExitStatus|TestTraps|TestRunErrors|TestGuestSeesItsData|"+
		"TestReactor|TestExitFromStartSection|TestTrapInStartSection|TestHostFunctionPanics|TestUnsupported|"+
		"TestMemoryLimit|TestMemoryLimitBelowTheStart|TestHostCallsCollect)$")
	cmd.Env = append(os.Environ(), interpretEnv+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil && strings.Contains(string(out), "PR_SET_MDWE") {
		t.Skip("PR_SET_MDWE needs Linux 6.3")
	}
	if err != nil || !strings.Contains(string(out), "PASS") {
		t.Errorf("%v\n%s", err, out)
	}
}
