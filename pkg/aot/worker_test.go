package aot

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// served compiles in this process, by way of the two files.
func served(ctx context.Context, job, output *os.File) error { return ServeCompile(ctx, job, output) }

func TestCompilerMakesTheSame(t *testing.T) {
	for _, name := range Engines() {
		wasm := slowModule(t, 1)
		inside, err := Ensure(context.Background(), EnsureArgs{Wasm: wasm, Engine: name})
		if err != nil {
			t.Fatal(err)
		}
		outside, err := Ensure(context.Background(), EnsureArgs{Wasm: wasm, Engine: name, Compiler: served})
		if err != nil {
			t.Fatal(err)
		}
		if (inside.File == nil) != (outside.File == nil) {
			t.Fatalf("%s: native code: %v here, %v there", name, inside.File, outside.File)
		}
		if inside.File == nil {
			continue // no executable memory: both only validated
		}
		a, b := content(t, inside.File), content(t, outside.File)
		if len(a) != len(b) {
			t.Errorf("%s: %d bytes here, %d there", name, len(a), len(b))
		}
	}
}

func content(t *testing.T, f *os.File) []byte {
	t.Helper()
	defer f.Close()
	b, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What is wrong with a module is the same error from elsewhere.
func TestCompilerErrors(t *testing.T) {
	shared := watText(t, `(module (func $f (result i32) i32.const 1) (func (export "_start") (drop (call $f))))`)
	broken := bytes.Replace(shared, []byte{0x41, 0x01}, []byte{0x42, 0x01}, 1) // i64 for i32
	for what, wasm := range map[string][]byte{
		"no module":    []byte("ELF"),
		"component":    []byte("\x00asm\x0d\x00\x01\x00"),
		"cut":          shared[:len(shared)-3],
		"invalid":      broken,
		"legacy catch": []byte(header + "\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x0a\x08\x01\x06\x00\x06\x40\x19\x0b\x0b"),
	} {
		for _, name := range Engines() {
			_, inside := Ensure(context.Background(), EnsureArgs{Wasm: wasm, Engine: name})
			_, outside := Ensure(context.Background(), EnsureArgs{Wasm: wasm, Engine: name, Compiler: served})
			if inside == nil || outside == nil || inside.Error() != outside.Error() {
				t.Errorf("%s: %s: %v here, %v there", what, name, inside, outside)
				continue
			}
			for _, s := range verdictSentinels {
				if errors.Is(inside, s) != errors.Is(outside, s) {
					t.Errorf("%s: %s: %v: is it %v?", what, name, outside, s)
				}
			}
		}
	}
}

// A compiler that was taken over says anything; the store gets nothing of it.
func TestCompilerHostile(t *testing.T) {
	if !executableMemory() {
		t.Skip("without executable memory nothing is made")
	}
	wasm := watText(t, `(module (func (export "_start")))`)
	sound := func(f *os.File) error {
		a := &artifact{parts: []part{{kind: 1, data: []byte("part")}}}
		return a.writeTo(f)
	}
	verdict := func(kind uint32, text string) func(*os.File) error {
		return func(f *os.File) error {
			_, err := f.WriteString(verdictMagic + string(binary.LittleEndian.AppendUint32(nil, kind)) + text)
			return err
		}
	}
	for what, answer := range map[string]func(*os.File) error{
		"nothing":            func(*os.File) error { return nil },
		"words":              func(f *os.File) error { _, err := f.WriteString("all is well"); return err },
		"a hole":             func(f *os.File) error { return f.Truncate(1 << 30) },
		"no native code":     verdict(0, ""),
		"an unknown kind":    verdict(1<<31|1, "x"),
		"half a kind":        verdict(2, "x"),
		"a kind, no text":    verdict(1, ""),
		"a book":             verdict(1, strings.Repeat("x", maxVerdict+1)),
		"control characters": verdict(1, "\x1b\n\r\x00"),
		"a spoiled part": func(f *os.File) error {
			if err := sound(f); err != nil {
				return err
			}
			_, err := f.WriteAt([]byte{1}, 1)
			return err
		},
		"a spoiled footer": func(f *os.File) error {
			if err := sound(f); err != nil {
				return err
			}
			_, err := f.Seek(-1, 2)
			return errors.Join(err, f.Truncate(int64(alignPart(5))+footerSize-1))
		},
		"a mapping that it can still write to": func(f *os.File) error {
			if err := sound(f); err != nil {
				return err
			}
			m, err := unix.Mmap(int(f.Fd()), 0, 1, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
			t.Cleanup(func() { unix.Munmap(m) })
			return err
		},
	} {
		store, err := OpenStore(t.TempDir() + "/store")
		if err != nil {
			t.Fatal(err)
		}
		a, err := Ensure(context.Background(), EnsureArgs{Wasm: wasm, Store: store, Compiler: func(_ context.Context, _, output *os.File) error {
			return answer(output)
		}})
		if !errors.Is(err, ErrCompiler) || strings.ContainsAny(err.Error(), "\x1b\n\r\x00") {
			t.Errorf("%s: %v, %v", what, a, err)
		}
		if list, err := store.List(); err != nil || len(list) != 0 {
			t.Errorf("%s: the store has %v, %v", what, list, err)
		}
		store.Close()
	}
}

// An error of the process, and the end of the time for it, are the caller's to see.
func TestCompilerFails(t *testing.T) {
	wasm := watText(t, `(module (func (export "_start")))`)
	died := errors.New("it died")
	if _, err := Ensure(context.Background(), EnsureArgs{Wasm: wasm, Compiler: func(context.Context, *os.File, *os.File) error { return died }}); !errors.Is(err, died) {
		t.Errorf("%v, want %v", err, died)
	}
}

// FuzzCompilerAnswer: whatever a compile process leaves, it is an artifact that can be
// written and read again, a verdict of bounded text, or ErrCompiler.
func FuzzCompilerAnswer(f *testing.F) {
	f.Add([]byte(verdictMagic+"\x00\x00\x00\x00"), true)
	f.Add([]byte(verdictMagic+"\x00\x00\x00\x00"), false)
	f.Add(encodeVerdict(fmt.Errorf("x: %w", ErrUnsupported)), true)
	f.Add([]byte("\x00asm"), true)
	a := &artifact{parts: []part{{kind: 1, data: []byte("part")}, {kind: 2, data: []byte("another")}}}
	if file, err := memoryFile(a); err == nil {
		b, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d", file.Fd()))
		file.Close()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, true)
	}
	f.Fuzz(func(t *testing.T, b []byte, native bool) {
		a, err := decodeAnswer(b, native)
		var verdict *verdictError
		switch {
		case err == nil && native:
			file, err := memoryFile(a)
			if err != nil {
				t.Fatal(err)
			}
			again, err := decodeArtifact(content(t, file))
			if err != nil || again.verify() != nil || len(again.parts) != len(a.parts) {
				t.Fatalf("written again: %v", err)
			}
		case err == nil:
			if len(a.parts) != 0 {
				t.Fatal("native code where there is none")
			}
		case errors.As(err, &verdict):
			if verdict.text == "" || len(verdict.text) > 3*maxVerdict || strings.ContainsAny(verdict.text, "\x1b\n\r\x00") {
				t.Fatalf("%q", verdict.text)
			}
		case !errors.Is(err, ErrCompiler):
			t.Fatalf("error without a sentinel: %v", err)
		}
	})
}

// FuzzCompilerJob: a job is read without a panic, and what was written is read.
func FuzzCompilerJob(f *testing.F) {
	file, err := jobFile(linked()[0], 1<<40, "a-fingerprint", []byte(header))
	if err != nil {
		f.Fatal(err)
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d", file.Fd()))
	file.Close()
	if err != nil {
		f.Fatal(err)
	}
	j, err := decodeJob(b)
	if err != nil || j.engine != linked()[0].name() || j.fingerprint != "a-fingerprint" || j.addressSpace != 1<<40 || string(j.wasm) != header {
		f.Fatalf("%+v, %v", j, err)
	}
	f.Add(b)
	f.Add(b[:jobHead])
	f.Fuzz(func(t *testing.T, b []byte) {
		if j, err := decodeJob(b); err == nil && len(j.engine)+len(j.fingerprint)+len(j.wasm)+jobHead != len(b) {
			t.Fatalf("%d bytes give %+v", len(b), j)
		}
	})
}
