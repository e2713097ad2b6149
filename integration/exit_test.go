package integration

import (
	"strconv"
	"strings"
	"testing"
)

// The guest's exit code is the container's, modulo 256.
func TestExitCode(t *testing.T) {
	for _, code := range []int{0, 1, 7, 126, 255, 256, 263} {
		t.Run(strconv.Itoa(code), func(t *testing.T) {
			each(t, "exit", strconv.Itoa(code), func(t *testing.T, w workload, b *box) {
				res := b.run().exits(code & 0xff)
				if res.stdout != "" || res.stderr != "" {
					t.Errorf("want no output: %v", res)
				}
			})
		})
	}
}

// The code is as good after create and start as after run.
func TestExitCodeDetached(t *testing.T) {
	each(t, "exit", "7", func(t *testing.T, _ workload, b *box) {
		b.begin()
		if code := b.wait(); code != 7 {
			t.Errorf("exit status %d, want 7", code)
		}
		b.want("stopped")
		b.quiet("delete", b.id).ok()
	})
}

// A trap ends with 134, as SIGABRT does, and says where it happened.
func TestTrap(t *testing.T) {
	rows := []struct {
		name, guest, verb string
		code              int
		says              []string
	}{
		{"C unreachable", "c/probe", "trap", 134, []string{"wasm trap: unreachable", "\tmain"}},
		{"C out of bounds", "c/probe", "fault", 134, []string{"wasm trap: out of bounds memory access", "\tread_nowhere", "\tmain"}},
		{"C divide by zero", "c/probe", "divide", 134, []string{"wasm trap: integer divide by zero", "\tdivide_by", "\tmain"}},
		{"Rust panic", "rust/probe", "trap", 134, []string{"trapped", "wasm trap: unreachable", "lang_start_internal"}},
		{"WAT unreachable", "wat/probe", "trap", 134, []string{"unreachable"}},
		{"WAT stack overflow", "wat/deep", "", 134, []string{"stack overflow"}},
		// Go's runtime prints its own trace and exits.
		{"Go panic", "go/probe", "trap", 2, []string{"panic: trapped", "main.do"}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			b := newBox(t, row.guest, row.verb)
			res := b.run().exits(row.code).warns(row.says...)
			res.warns("!SIGSEGV", "!runtime.gopanic", "!fatal error: ")
			// The wasm frames are told; the engine unwinds none of an overflown stack.
			if lines := strings.Count(res.stderr, "\n"); row.code == 134 && row.verb != "" && (lines < 2 || lines > 200) {
				t.Errorf("%d lines of backtrace: %v", lines, res)
			}
		})
	}
}

// A module that catches nothing ends by every signal whose default is to end, with 128+n.
func TestSignals(t *testing.T) {
	for signal, number := range map[string]int{"INT": 2, "QUIT": 3, "HUP": 1, "USR1": 10, "TERM": 15, "KILL": 9} {
		t.Run(signal, func(t *testing.T) {
			b := newBox(t, "c/probe", "sleep", "3600")
			b.begin()
			b.await("asleep")
			b.quiet("kill", b.id, signal).ok()
			if code := b.wait(); code != 128+number {
				t.Errorf("exit status %d, want %d", code, 128+number)
			}
			b.quiet("delete", b.id).ok()
		})
	}
}

// A module in a loop makes no host call in which it could notice a signal.
func TestKillSpinning(t *testing.T) {
	b := newBox(t, "c/probe", "loop")
	b.begin()
	b.await("looping")
	b.quiet("kill", b.id, "TERM").ok()
	if code := b.wait(); code != 143 {
		t.Errorf("exit status %d, want 143", code)
	}
	b.quiet("delete", b.id).ok()
}
