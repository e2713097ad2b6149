//go:build wasmtime

package aot

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/cpu"
	"golang.org/x/sys/unix"
)

// wasmtimeOptions changes whenever this package changes what it compiles: the
// configuration in wasmtime.c, the rewriting of modules.
const wasmtimeOptions = "1"

// Kinds of parts in wasmtime's artifacts, beside partShell. The native code is
// the first part: wasmtime maps a file from its start.
const partELF = 16

const (
	// wasmtimeMaxTable bounds a table's elements; each takes 8 bytes outside of
	// the guest's memory limit.
	wasmtimeMaxTable = 10_000_000
	maxFrameName     = 512
	maxErrorText     = 8 << 10
)

// A guest has what its thread's stack leaves (RLIMIT_STACK, as for a native
// program) after a reserve for the host functions and the engine; wasmtime
// allows at most 2 MiB without its support for asynchronous calls. That holds
// spilled values and return addresses only: a guest's own stack of data lies
// in its memory.
const (
	wasmtimeStackReserve = 256 << 10
	wasmtimeMaxStack     = 2 << 20
	wasmtimeMinStack     = 64 << 10
)

// wasmtimeWide is the address space that the usual code needs: memories reserve
// 4 GiB each, so that their bounds need no checks, and the Go runtime has its own
// reservations.
const wasmtimeWide = 6 << 30

// wasmtimeEngine is wasmtime; narrow where address space is scarce: then code
// checks bounds and memories reserve a piece at a time.
type wasmtimeEngine struct{ narrow bool }

func (e *wasmtimeEngine) name() string { return "wasmtime" }

// within implements confinable.
func (e *wasmtimeEngine) within(bytes uint64) engine {
	return &wasmtimeEngine{narrow: bytes < wasmtimeWide}
}

// binary makes the engine proper. It compiles on so many threads: their number
// is bounded by the container, and a pool that cannot start its threads aborts.
// A memory that grows needs its old and its new reservation at once, so a piece
// is a quarter of what can be had.
func (e *wasmtimeEngine) binary(threads int) *wasmtimeBinary {
	if threads > 1 {
		_ = os.Setenv("RAYON_NUM_THREADS", strconv.Itoa(threads)) // fails for a bad name only
	}
	growth := uint64(0)
	if e.narrow {
		growth = wasmPage
		if b, err := reserveMemory(wasmtimeWide / 2); err == nil {
			growth = max(growth, uint64(len(b)/4)&^(wasmPage-1))
			unix.Munmap(b)
		}
	}
	return newWasmtime(wasmtimeStack(), growth, threads > 1)
}

func (e *wasmtimeEngine) fingerprint() string {
	if !executableMemory() {
		return ""
	}
	features := sha256.Sum256([]byte(strings.Join(cpuFeatures(), " ")))
	parts := []string{"wasmtime", wasmtimeVersion, runtime.GOARCH, fmt.Sprintf("%x", features[:4]), "o" + wasmtimeOptions}
	if e.narrow {
		parts = append(parts, "narrow")
	}
	return strings.Join(parts, "-")
}

// cpuFeatures lists what Cranelift looks for in the processor, as far as there
// is a name for it. wasmtime itself refuses code for features that are not there.
func cpuFeatures() []string {
	var out []string
	for name, on := range map[string]bool{
		"sse3": cpu.X86.HasSSE3, "ssse3": cpu.X86.HasSSSE3, "sse41": cpu.X86.HasSSE41, "sse42": cpu.X86.HasSSE42,
		"popcnt": cpu.X86.HasPOPCNT, "avx": cpu.X86.HasAVX, "avx2": cpu.X86.HasAVX2, "fma": cpu.X86.HasFMA,
		"bmi1": cpu.X86.HasBMI1, "bmi2": cpu.X86.HasBMI2, "avx512f": cpu.X86.HasAVX512F, "avx512vl": cpu.X86.HasAVX512VL,
		"avx512dq": cpu.X86.HasAVX512DQ, "avx512bitalg": cpu.X86.HasAVX512BITALG, "avx512vbmi": cpu.X86.HasAVX512VBMI,
		"cx16": cpu.X86.HasCX16, "lse": cpu.ARM64.HasATOMICS, "fp16": cpu.ARM64.HasFPHP,
	} {
		if on {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

func wasmtimeStack() uint64 {
	size := uint64(wasmtimeMaxStack) // unlimited: what pthread_create(3) gives threads
	var rl unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_STACK, &rl) == nil && rl.Cur != unix.RLIM_INFINITY {
		size = min(rl.Cur, wasmtimeMaxStack+wasmtimeStackReserve)
	}
	return max(size, wasmtimeMinStack+wasmtimeStackReserve) - wasmtimeStackReserve
}

// enoughStack refuses threads on which the compiler, or a host call of a guest
// that has used up its own stack, could run out of stack, which ends the
// process. A part of what RLIMIT_STACK gives holds arguments and environment.
func enoughStack() error {
	need := max(wasmtimeStack()+wasmtimeStackReserve/2, wasmtimeStackReserve)
	if left := wasmtimeStackLeft(); left < need {
		return fmt.Errorf("%d bytes of stack: the engine needs %d (RLIMIT_STACK)", left, need)
	}
	return nil
}

func (e *wasmtimeEngine) compile(_ context.Context, secs []section, info *Info) (*artifact, error) {
	if err := enoughStack(); err != nil {
		return nil, err
	}
	b := e.binary(runtime.GOMAXPROCS(0))
	defer b.close()
	wasm := withMemoryExport(secs, info)
	if !executableMemory() {
		return &artifact{}, wasmtimeCompileError(b.validate(wasm))
	}
	if err := b.compile(wasm); err != nil {
		return nil, wasmtimeCompileError(err)
	}
	elf, err := b.serialize()
	if err != nil {
		return nil, err
	}
	return &artifact{parts: []part{{kind: partELF, data: elf}, {kind: partShell, data: outline(secs)}}}, nil
}

// wasmtimeCompileError adds this project's word for a feature that is not there.
func wasmtimeCompileError(err error) error {
	if err == nil {
		return nil
	}
	text := strings.Join(strings.Fields(err.Error()), " ")
	for mark, feature := range map[string]string{
		"legacy exceptions": "legacy exceptions", "legacy_exceptions": "legacy exceptions", "custom page sizes": "custom page sizes",
		"stack switching": "stack switching", "shared-everything": "shared-everything threads",
	} {
		if strings.Contains(text, mark) {
			return fmt.Errorf("engine wasmtime: WebAssembly feature %s: %w: %s", feature, ErrUnsupported, text)
		}
	}
	return fmt.Errorf("invalid module: %s", text)
}

func (e *wasmtimeEngine) open(ctx context.Context, a OpenArgs) (Module, error) {
	if err := enoughStack(); err != nil {
		return nil, err
	}
	if a.Artifact != nil {
		m, err := e.openELF(a)
		if err == nil {
			return m, nil
		}
		if executableMemory() {
			a.Warn(fmt.Errorf("compiling in memory: %w", err))
		}
	}
	if !executableMemory() {
		// wasmtime has no interpreter here, wazero has.
		if a.Artifact != nil {
			a.Warn(errors.New("executable memory is denied here: interpreting the module"))
		}
		a.Artifact = nil
		return (&wazeroEngine{}).open(ctx, a)
	}
	secs, err := sections(a.Wasm)
	if err != nil {
		return nil, err
	}
	info, err := checkModule(secs)
	if err != nil {
		return nil, err
	}
	b := e.binary(1)
	if err := b.compile(withMemoryExport(secs, info)); err != nil {
		b.close()
		return nil, wasmtimeCompileError(err)
	}
	return &wasmtimeModule{b, info}, nil
}

// openELF maps the native code of an artifact, or copies it where mapping a
// file as code is denied: a noexec mount, a policy of SELinux.
func (e *wasmtimeEngine) openELF(a OpenArgs) (Module, error) {
	file, err := mapFile(a.Artifact, 0)
	if err != nil {
		return nil, err
	}
	defer file.close()
	art, err := decodeArtifact(file.b)
	if err != nil {
		return nil, err
	}
	if art.length != uint64(len(a.Wasm)) {
		return nil, fmt.Errorf("%w: made for a module of %d bytes, this one has %d", ErrStale, art.length, len(a.Wasm))
	}
	// Reading the code to check it would undo the mapping; Ensure has checked it.
	if err := art.verify(partShell); err != nil {
		return nil, err
	}
	elf := art.part(partELF)
	if len(elf.data) == 0 || elf.offset != 0 {
		return nil, fmt.Errorf("%w: made by another engine", ErrStale)
	}
	info, err := Inspect(art.part(partShell).data)
	if err != nil {
		return nil, fmt.Errorf("%w: outline: %w", ErrDamaged, err)
	}
	b := e.binary(1)
	if err = b.deserializeFile(a.Artifact); err != nil {
		err = b.deserialize(elf.data)
	}
	if err != nil {
		b.close()
		return nil, fmt.Errorf("%w: %w", ErrStale, err)
	}
	return &wasmtimeModule{b, info}, nil
}
