//go:build wasmtime

package aot

import (
	"fmt"
	"strings"
)

// wasmtimeReasons are the traps by wasmtime's code (wasmtime/trap.h), in the
// words that wazero has for the same ones.
var wasmtimeReasons = [...]string{
	0:  "stack overflow",
	1:  "out of bounds memory access",
	2:  "unaligned atomic",
	3:  "invalid table access",
	4:  "invalid table access",
	5:  "indirect call type mismatch",
	6:  "integer overflow",
	7:  "integer divide by zero",
	8:  "invalid conversion to integer",
	9:  "unreachable",
	12: "expected shared memory",
	13: "null reference",
	14: "out of bounds array access",
	15: "allocation too large",
	16: "cast failure",
}

// wasmtimeReason gives "" for a trap whose text says more than its code.
func wasmtimeReason(code uint8) string {
	if int(code) < len(wasmtimeReasons) {
		return wasmtimeReasons[code]
	}
	return ""
}

// rootCause is the innermost of the errors in a text of wasmtime's, which are
// a numbered list below the backtrace.
func rootCause(text string) string {
	first, causes, listed := strings.Cut(text, "\nCaused by:\n")
	if !listed {
		first, _, _ = strings.Cut(first, "\n")
		return first
	}
	lines := strings.Split(strings.TrimSpace(causes), "\n")
	last := strings.TrimSpace(lines[len(lines)-1])
	if _, cause, numbered := strings.Cut(last, ": "); numbered && len(lines) > 1 {
		return cause
	}
	return last
}

// demangled gives the names of n frames as a text of wasmtime's has them, which
// undoes what the compilers of C++ and Rust do to names. They are empty unless
// the text has a line for each frame: it may be cut off.
func demangled(text string, n int) []string {
	out := make([]string, 0, n)
	for line := range strings.Lines(text) {
		_, name, found := strings.Cut(line, "!") // after offset and module
		if found && len(out) < n && strings.HasPrefix(line, fmt.Sprintf("  %3d: ", len(out))) {
			out = append(out, strings.TrimRight(name, "\n"))
		}
	}
	if len(out) != n {
		return make([]string, n)
	}
	return out
}
