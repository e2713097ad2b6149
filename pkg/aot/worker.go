package aot

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// Compiler has a module compiled in another process, which calls ServeCompile
// with the same two files: job is sealed, output is empty and to be written. It
// returns when that process has ended, with an error if it did not end well.
type Compiler func(ctx context.Context, job, output *os.File) error

// ErrCompiler is wrapped when the compiling process gave an answer that is
// none: whatever it says is checked like any stranger's word.
var ErrCompiler = errors.New("bad answer of the compile process")

// A job is the module behind a head:
//
//	0  magic          8
//	8  address space  u64  EnsureArgs.AddressSpace
//	16 engine         u32  length
//	20 fingerprint    u32  length
//	24 engine, fingerprint, module
//
// An answer is an artifact, whose fingerprint, digest and length are ignored,
// or a verdict:
//
//	0  magic          8
//	8  kind           u32  0: valid, and there is no native code to keep; else
//	                       1 and the bits of verdictSentinels that it wraps
//	12 text           up to the end
const (
	jobMagic     = "RUNWJOB\x01"
	jobHead      = 24
	verdictMagic = "RUNWSAY\x01"
	verdictHead  = 12
	maxVerdict   = 8 << 10
	// maxName bounds the engine's name and its fingerprint, a directory's name.
	maxName = 255
)

// verdictSentinels are the errors about modules that callers tell apart.
// Bit 1 stands for the first.
var verdictSentinels = []error{ErrNotWasm, ErrComponent, ErrMalformed, ErrUnsupported, ErrEngine}

// jobFile lays a job down on a sealed memfd: what was hashed is what is
// compiled.
func jobFile(e engine, addressSpace uint64, fingerprint string, wasm []byte) (*os.File, error) {
	h := binary.LittleEndian.AppendUint64([]byte(jobMagic), addressSpace)
	h = binary.LittleEndian.AppendUint32(h, uint32(len(e.name())))
	h = binary.LittleEndian.AppendUint32(h, uint32(len(fingerprint)))
	h = append(append(h, e.name()...), fingerprint...)
	return sealed(func(f *os.File) error {
		if _, err := f.Write(h); err != nil {
			return err
		}
		_, err := f.Write(wasm)
		return err
	})
}

type job struct {
	addressSpace        uint64
	engine, fingerprint string
	wasm                []byte
}

func decodeJob(b []byte) (*job, error) {
	if len(b) < jobHead || string(b[:len(jobMagic)]) != jobMagic {
		return nil, errors.New("not a compile job")
	}
	le := binary.LittleEndian
	j := &job{addressSpace: le.Uint64(b[8:])}
	engine, fingerprint := le.Uint32(b[16:]), le.Uint32(b[20:])
	rest := b[jobHead:]
	if engine > maxName || fingerprint > maxName || uint64(engine)+uint64(fingerprint) > uint64(len(rest)) {
		return nil, errors.New("not a compile job: too short")
	}
	j.engine, rest = string(rest[:engine]), rest[engine:]
	j.fingerprint, j.wasm = string(rest[:fingerprint]), rest[fingerprint:]
	return j, nil
}

// ServeCompile does the job of a Compiler and leaves its answer in output. An
// error is one of the two files'; what is wrong with the module is an answer.
func ServeCompile(ctx context.Context, jobFile, output *os.File) error {
	m, err := mapFile(jobFile, 0)
	if err != nil {
		return err
	}
	defer m.close()
	j, err := decodeJob(m.b)
	if err != nil {
		return err
	}
	a, err := j.compile(ctx)
	if err != nil {
		_, err = output.WriteAt(encodeVerdict(err), 0)
		return err
	}
	if len(a.parts) == 0 {
		_, err = output.WriteAt(encodeVerdict(nil), 0)
		return err
	}
	return a.writeTo(output)
}

func (j *job) compile(ctx context.Context) (*artifact, error) {
	e, err := pickFor(j.engine, cmp.Or(j.addressSpace, math.MaxUint64))
	if err != nil {
		return nil, err
	}
	if f := e.fingerprint(); f != j.fingerprint {
		return nil, fmt.Errorf("%w: the compile process is %q, not %q", ErrEngine, f, j.fingerprint)
	}
	return compileModule(ctx, e, j.wasm)
}

// compileModule is all that looks into a module's code.
func compileModule(ctx context.Context, e engine, wasm []byte) (*artifact, error) {
	secs, err := sections(wasm)
	if err != nil {
		return nil, err
	}
	info, err := checkModule(secs)
	if err != nil {
		return nil, err
	}
	return e.compile(ctx, secs, info)
}

func encodeVerdict(err error) []byte {
	kind, text := uint32(0), ""
	if err != nil {
		kind, text = 1, err.Error()
		for i, s := range verdictSentinels {
			if errors.Is(err, s) {
				kind |= 2 << i
			}
		}
	}
	b := binary.LittleEndian.AppendUint32([]byte(verdictMagic), kind)
	return append(b, text[:min(len(text), maxVerdict)]...)
}

// verdictError is an error that was another process's.
type verdictError struct {
	text string
	is   []error
}

func (e *verdictError) Error() string   { return e.text }
func (e *verdictError) Unwrap() []error { return e.is }

// decodeVerdict reads a verdict; the error is it, or wraps ErrCompiler.
func decodeVerdict(b []byte) error {
	kind, text := binary.LittleEndian.Uint32(b[8:]), b[verdictHead:]
	switch {
	case kind == 0 && len(text) == 0:
		return nil
	case kind&1 == 0 || kind>>(1+len(verdictSentinels)) != 0 || len(text) > maxVerdict:
		return fmt.Errorf("%w: verdict of kind %d, %d bytes", ErrCompiler, kind, len(text))
	}
	e := &verdictError{text: printable(text)}
	for i, s := range verdictSentinels {
		if kind&(2<<i) != 0 {
			e.is = append(e.is, s)
		}
	}
	if e.text == "" {
		return fmt.Errorf("%w: no text", ErrCompiler)
	}
	return e
}

// printable keeps a terminal and a log from being told anything but text. U+FFFD
// takes the place of bytes that are no UTF-8.
func printable(b []byte) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) || r == utf8.RuneError {
			return r
		}
		return ' '
	}, string(b)))
}

// decodeAnswer reads what a compile process left; native tells whether there
// has to be native code. The artifact aliases b.
func decodeAnswer(b []byte, native bool) (*artifact, error) {
	if len(b) >= verdictHead && bytes.HasPrefix(b, []byte(verdictMagic)) {
		err := decodeVerdict(b)
		if err == nil && native {
			err = fmt.Errorf("%w: no native code", ErrCompiler)
		}
		return &artifact{}, err
	}
	a, err := decodeArtifact(b)
	if err == nil {
		err = a.verify()
	}
	if err == nil && !native {
		err = errors.New("native code where there is none")
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCompiler, err)
	}
	return a, nil
}

// compileOutside has the module compiled by c. The artifact is mapped until
// free is called.
func (m *maker) compileOutside(ctx context.Context, c Compiler) (a *artifact, free func(), err error) {
	job, err := jobFile(m.engine, m.addressSpace, m.fingerprint, m.wasm)
	if err != nil {
		return nil, nil, err
	}
	defer job.Close()
	fd, err := unix.MemfdCreate("runw-compiled", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, nil, fmt.Errorf("memory for native code: %w", err)
	}
	output := os.NewFile(uintptr(fd), "runw-compiled")
	defer output.Close()
	if err := c(ctx, job, output); err != nil {
		return nil, nil, err
	}
	// Nobody changes it from here on: sealing fails if somebody still could.
	if _, err := unix.FcntlInt(output.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrCompiler, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(output.Fd()), &st); err != nil {
		return nil, nil, err
	}
	// To look into a hole would fill it with memory of this process.
	if st.Size == 0 || st.Blocks*512 < st.Size {
		return nil, nil, fmt.Errorf("%w: %d bytes of %d are there", ErrCompiler, st.Blocks*512, st.Size)
	}
	mem, err := mapFile(output, unix.MAP_POPULATE)
	if err != nil {
		return nil, nil, err
	}
	if a, err = decodeAnswer(mem.b, m.fingerprint != ""); err != nil {
		mem.close()
		return nil, nil, err
	}
	return a, mem.close, nil
}
