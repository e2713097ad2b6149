package aot

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/runw/runw/pkg/hostfuncs/abi"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"golang.org/x/sys/cpu"
)

const wazeroPath = "github.com/tetratelabs/wazero"

// wazeroOptions changes whenever this package changes what it compiles:
// features, debug information, the shape of shell modules.
const wazeroOptions = "2"

type wazeroEngine struct{}

func (e *wazeroEngine) name() string { return "wazero" }

// fingerprint repeats the processor features in wazero's own cache key: they
// choose the directory, so that a store on a disk moved to another machine
// keeps both sets.
func (e *wazeroEngine) fingerprint() string {
	if !wazeroCompiles() {
		return ""
	}
	parts := []string{"wazero", wazeroVersion(), runtime.GOARCH}
	for _, f := range []struct {
		on   bool
		name string
	}{
		{cpu.X86.HasBMI1, "bmi1"},
		{cpu.X86.HasBMI1 && cpu.X86.HasBMI2 && cpu.X86.HasPOPCNT, "abm"},
		{cpu.ARM64.HasATOMICS, "lse"},
	} {
		if f.on {
			parts = append(parts, f.name)
		}
	}
	return strings.Join(append(parts, "o"+wazeroOptions), "-")
}

func wazeroVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == wazeroPath && m.Version != "" {
				return m.Version
			}
		}
	}
	return "dev"
}

// wazeroCompiles reports whether wazero can make and run native code here.
// wazero's own choice is silent.
func wazeroCompiles() bool {
	switch runtime.GOARCH {
	case "amd64":
		if !cpu.X86.HasSSE41 {
			return false
		}
	case "arm64":
	default:
		return false
	}
	return executableMemory()
}

// wazeroInterprets reports whether a module is not to be compiled. The code
// that wazero 1.12 makes for try_table forgets what locals were set to within,
// once an exception is caught (wazero issue 2503); the interpreter does not.
func wazeroInterprets(i *Info) bool { return i.Tags || !wazeroCompiles() }

// wazeroFeatures is everything wazero has. Its compiler has atomics on arm64
// only with the LSE instructions; a Raspberry Pi 4 does better without threads
// than without a compiler.
func wazeroFeatures() api.CoreFeatures {
	f := api.CoreFeaturesV2 | experimental.CoreFeaturesTailCall | experimental.CoreFeaturesExtendedConst |
		experimental.CoreFeaturesExceptionHandling | experimental.CoreFeaturesTypedFunctionReferences
	if runtime.GOARCH != "arm64" || cpu.ARM64.HasATOMICS {
		f |= experimental.CoreFeaturesThreads
	}
	return f
}

func wazeroConfig(cache wazero.CompilationCache, interpret bool) wazero.RuntimeConfig {
	c := wazero.NewRuntimeConfigCompiler()
	if interpret {
		c = wazero.NewRuntimeConfigInterpreter()
	}
	c = c.WithCoreFeatures(wazeroFeatures()).WithDebugInfoEnabled(false)
	if cache != nil {
		c = c.WithCompilationCache(cache)
	}
	return c
}

// wazeroRefuses names the feature that wazero lacks where its own message
// talks of bytes.
func wazeroRefuses(i *Info) error {
	var what string
	switch {
	case i.Memory64:
		what = "memory64 (64-bit memory)"
	case i.Memories > 1:
		what = "multi-memory (more than one memory)"
	case i.GC:
		what = "GC (struct and array types, subtyping)"
	case i.Shared && wazeroFeatures()&experimental.CoreFeaturesThreads == 0:
		what = "threads (shared memory) on this processor"
	default:
		return nil
	}
	return fmt.Errorf("engine wazero: WebAssembly feature %s: %w", what, ErrUnsupported)
}

// wazeroCompile decodes, validates and compiles. wazero panics where it cannot
// map memory; the deferred recover turns this and defects into errors.
func wazeroCompile(ctx context.Context, rt wazero.Runtime, wasm []byte) (m wazero.CompiledModule, err error) {
	defer recovered(&err)
	ctx = experimental.WithCompilationWorkers(ctx, runtime.GOMAXPROCS(0))
	if m, err = rt.CompileModule(ctx, wasm); err != nil {
		return nil, wazeroCompileError(err, wasm)
	}
	return m, nil
}

// hasRelaxedSIMD finds the instructions of that proposal, 0x100 to 0x113, or
// bytes like theirs, in a module that wazero refused: it takes their last byte
// for the start of a block, which then has no end.
func hasRelaxedSIMD(wasm []byte) bool {
	for {
		at := bytes.IndexByte(wasm, 0xfd)
		if at < 0 || at+2 >= len(wasm) {
			return false
		}
		if wasm[at+1] >= 0x80 && wasm[at+1] <= 0x93 && wasm[at+2] == 2 {
			return true
		}
		wasm = wasm[at+1:]
	}
}

// wazeroCompileError adds the reader's word for features that wazero reports
// by opcode. Legacy exceptions are opcodes 6, 7, 9, 24 and 25.
func wazeroCompileError(err error, wasm []byte) error {
	feature := ""
	switch {
	case strings.Contains(err.Error(), "legacy"):
		feature = "legacy exceptions"
	case slices.ContainsFunc([]string{"0x13", "0x14", "0x15", "0x16"}, func(op string) bool {
		return strings.HasSuffix(err.Error(), "unknown misc opcode "+op)
	}):
		feature = "wide arithmetic"
	case hasRelaxedSIMD(wasm):
		feature = "relaxed SIMD"
	}
	if feature != "" {
		return fmt.Errorf("engine wazero: WebAssembly feature %s: %w: %w", feature, ErrUnsupported, err)
	}
	return fmt.Errorf("invalid module: %w", err)
}

func recovered(err *error) {
	if r := recover(); r != nil {
		if e, ok := r.(error); ok {
			*err = fmt.Errorf("engine panic: %w", e)
		} else {
			*err = fmt.Errorf("engine panic: %v", r)
		}
	}
}

func (e *wazeroEngine) compile(ctx context.Context, secs []section, info *Info) (*artifact, error) {
	if err := wazeroRefuses(info); err != nil {
		return nil, err
	}
	native := &wazeroCache{}
	m, err := wazeroLoad(ctx, native, stripped(secs), wazeroInterprets(info))
	if err != nil {
		return nil, err
	}
	m.close()
	if wazeroInterprets(info) {
		return &artifact{parts: []part{{kind: partShell, data: stripped(secs)}}}, nil
	}
	if native.content == nil {
		return nil, errors.New("wazero gave no native code to keep")
	}
	// The second pass learns the key of the shell and proves that what goes into
	// the store can be loaded.
	img := newImage(secs, info)
	sh := shell(secs, img)
	back := &wazeroCache{parts: [][]byte{native.content}}
	if m, err = wazeroLoad(ctx, back, sh, false); err != nil {
		return nil, fmt.Errorf("load what was compiled: %w", err)
	}
	m.close()
	if !back.hit {
		return nil, errors.New("load what was compiled: wazero did not take it")
	}
	a := &artifact{key: back.key, parts: []part{{kind: partShell, data: sh}}}
	head, code, tail := splitNative(native.content)
	if img != nil {
		base := binary.LittleEndian.AppendUint64(nil, img.base)
		a.parts = append(a.parts, part{kind: partImage, data: img.data}, part{kind: partImageBase, data: base})
	}
	for _, p := range []part{{kind: partHead, data: head}, {kind: partCode, data: code}, {kind: partTail, data: tail}} {
		if len(p.data) > 0 {
			a.parts = append(a.parts, p)
		}
	}
	return a, nil
}

// wazeroBinary is a runtime with one compiled module.
type wazeroBinary struct {
	rt    wazero.Runtime
	cache wazero.CompilationCache
	mod   wazero.CompiledModule
}

// wazeroLoad compiles wasm with c in the place of wazero's file cache; nil is
// no cache.
func wazeroLoad(ctx context.Context, c *wazeroCache, wasm []byte, interpret bool) (b *wazeroBinary, retErr error) {
	b = &wazeroBinary{}
	defer func() {
		if retErr != nil {
			b.close()
		}
	}()
	defer recovered(&retErr)
	if c != nil {
		var err error
		if b.cache, err = newWazeroCache(c); err != nil {
			return nil, err
		}
	}
	b.rt = wazero.NewRuntimeWithConfig(ctx, wazeroConfig(b.cache, interpret))
	var err error
	if b.mod, err = wazeroCompile(ctx, b.rt, wasm); err != nil {
		return b, err
	}
	return b, nil
}

func (b *wazeroBinary) close() error {
	var err error
	if b.rt != nil {
		err = b.rt.Close(context.Background())
	}
	if b.cache != nil {
		err = errors.Join(err, b.cache.Close(context.Background()))
	}
	return err
}

func (e *wazeroEngine) open(ctx context.Context, a OpenArgs) (Module, error) {
	if a.Artifact != nil && !wazeroCompiles() {
		a.Warn(errors.New("executable memory is denied here: interpreting the module"))
	} else if a.Artifact != nil {
		m, err := openNative(ctx, a)
		if err == nil {
			return m, nil
		}
		a.Warn(fmt.Errorf("compiling in memory: %w", err))
	}
	secs, err := sections(a.Wasm)
	if err != nil {
		return nil, err
	}
	info, err := checkModule(secs)
	if err != nil {
		return nil, err
	}
	if err := wazeroRefuses(info); err != nil {
		return nil, err
	}
	b, err := wazeroLoad(ctx, nil, stripped(secs), wazeroInterprets(info))
	if err != nil {
		return nil, err
	}
	return &wazeroModule{bin: b, info: info}, nil
}

// openNative loads the module from its artifact. Mapping the code can fail
// where copying does not: on a noexec mount, or by an SELinux policy for
// executable files.
func openNative(ctx context.Context, a OpenArgs) (Module, error) {
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
	// wazero itself checks the CRC of the code. The image can hurt the guest
	// only, and reading all of it would undo the mapping; Ensure has checked it.
	if err := art.verify(partShell, partHead, partTail, partImageBase); err != nil {
		return nil, err
	}
	info, err := Inspect(art.part(partShell).data)
	if err != nil {
		return nil, fmt.Errorf("%w: shell: %w", ErrDamaged, err)
	}
	if wazeroInterprets(info) { // the shell is all of the module
		b, err := wazeroLoad(ctx, nil, art.part(partShell).data, true)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		return &wazeroModule{bin: b, info: info}, nil
	}
	code := art.part(partCode)
	b, err := loadNative(ctx, art, &mappable{code.data, a.Artifact, code.offset})
	if err != nil && !errors.Is(err, ErrStale) {
		b, err = loadNative(ctx, art, nil)
	}
	if err != nil {
		return nil, err
	}
	img, err := openImage(art, a.Artifact)
	if err != nil {
		b.close()
		return nil, err
	}
	return &wazeroModule{bin: b, info: info, image: img}, nil
}

func loadNative(ctx context.Context, art *artifact, code *mappable) (*wazeroBinary, error) {
	c := &wazeroCache{key: art.key, keyed: true, code: code}
	for _, kind := range []uint32{partHead, partCode, partTail} {
		if p := art.part(kind); p.data != nil {
			c.parts = append(c.parts, p.data)
		}
	}
	b, err := wazeroLoad(ctx, c, art.part(partShell).data, false)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if !c.hit {
		b.close()
		return nil, fmt.Errorf("%w: made for another processor or version of wazero", ErrStale)
	}
	return b, nil
}

// checkModule is what every module passes before an engine sees it.
func checkModule(secs []section) (*Info, error) {
	info, err := inspect(secs)
	if err != nil {
		return nil, err
	}
	if info.Refused != "" {
		return nil, fmt.Errorf("WebAssembly feature %s: %w", info.Refused, ErrUnsupported)
	}
	return info, preflight(secs)
}

type wazeroModule struct {
	bin   *wazeroBinary
	info  *Info
	image *fileImage // nil without an artifact or an image in it
}

func (m *wazeroModule) Imports() []abi.Import { return m.info.Imports }

// Close implements Module.
func (m *wazeroModule) Close() error {
	m.image.close()
	return m.bin.close()
}
