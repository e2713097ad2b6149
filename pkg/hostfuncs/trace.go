package hostfuncs

import (
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/runw/runw/pkg/accel"
	"github.com/runw/runw/pkg/hostfuncs/abi"
)

// traceText bounds how much of a guest's string a trace line shows.
const traceText = 128

// traced wraps a bound function so that each call writes one line to w:
//
//	path_open(fd=3, flags=1, path="etc/hosts", oflags=0, …) = SUCCESS opened=5
//
// function.names drives it. Names are separated by commas, one for each
// parameter, with these endings:
//
//	"x"   a number, in decimal below 4096 and in hexadecimal above
//	"x$"  a pointer whose length is the next parameter: shown as a string
//	"x=4" (or =2, =8) a pointer to a result of so many bytes: shown after the
//	      call, if it succeeded, in decimal
//
// A failure to write the line is no concern of the guest.
func traced(w io.Writer, f *function, call func(abi.Memory, []uint64) error) func(abi.Memory, []uint64) error {
	names := strings.Split(f.names, ",")
	args := make([]uint64, len(f.params))
	var line []byte
	return func(mem abi.Memory, stack []uint64) error {
		// The first result overwrites the first parameter.
		copy(args, stack)
		line = append(line[:0], f.name...)
		line = append(line, '(')
		line = appendParams(line, f, names, args, mem)
		line = append(line, ')')
		err := call(mem, stack)
		line = appendOutcome(line, f, stack, err)
		if err == nil && len(f.results) > 0 && Errno(stack[0]) == errnoSuccess {
			line = appendResults(line, names, args, mem)
		}
		_, _ = w.Write(append(line, '\n'))
		return err
	}
}

func appendParams(line []byte, f *function, names []string, args []uint64, mem abi.Memory) []byte {
	first := true
	for i := 0; i < len(args) && i < len(names); i++ {
		if strings.Contains(names[i], "=") {
			continue
		}
		if !first {
			line = append(line, ", "...)
		}
		first = false
		name, isText := strings.CutSuffix(names[i], "$")
		line = append(append(line, name...), '=')
		if isText && i+1 < len(args) {
			line = appendText(line, mem, uint32(args[i]), uint32(args[i+1]))
			i++
			continue
		}
		line = appendNumber(line, narrow(args[i], f.params[i]))
	}
	return line
}

// narrow drops the half of a slot that is undefined for an i32.
func narrow(v uint64, letter byte) uint64 {
	if letter == 'i' {
		return uint64(uint32(v))
	}
	return v
}

func appendNumber(line []byte, v uint64) []byte {
	if v < 4096 {
		return strconv.AppendUint(line, v, 10)
	}
	return strconv.AppendUint(append(line, "0x"...), v, 16)
}

func appendText(line []byte, mem abi.Memory, ptr, n uint32) []byte {
	b, ok := mem.Bytes(ptr, n)
	if !ok {
		return append(appendNumber(append(appendNumber(line, uint64(ptr)), '+'), uint64(n)), "!"...)
	}
	line = strconv.AppendQuote(line, string(b[:min(len(b), traceText)]))
	if len(b) > traceText {
		line = append(line, "..."...)
	}
	return line
}

func appendOutcome(line []byte, f *function, stack []uint64, err error) []byte {
	var exit *abi.ExitError
	switch {
	case errors.As(err, &exit):
		return append(line, " exits"...)
	case err != nil:
		return append(append(line, " traps: "...), err.Error()...)
	case len(f.results) == 0:
		return line
	}
	line = append(line, " = "...)
	if f.nn != nil {
		return append(line, nnName(accel.Errno(stack[0]))...)
	}
	return append(line, Errno(stack[0]).String()...)
}

func appendResults(line []byte, names []string, args []uint64, mem abi.Memory) []byte {
	for i := 0; i < len(args) && i < len(names); i++ {
		name, size, isResult := strings.Cut(names[i], "=")
		if !isResult {
			continue
		}
		var v uint64
		switch ptr := uint32(args[i]); size {
		case "2":
			n, _ := mem.Uint16(ptr)
			v = uint64(n)
		case "4":
			n, _ := mem.Uint32(ptr)
			v = uint64(n)
		case "8":
			v, _ = mem.Uint64(ptr)
		}
		line = append(append(append(line, ' '), name...), '=')
		line = strconv.AppendUint(line, v, 10)
	}
	return line
}
