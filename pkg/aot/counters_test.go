package aot

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/runw/runw/pkg/hostfuncs/abi"
)

// The page tells the calls of a guest and its memory while it runs, and afterwards.
func TestCounters(t *testing.T) {
	file, err := os.OpenFile(filepath.Join(t.TempDir(), "page"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := MapCounters(file); err == nil {
		t.Error("an empty file has become counters")
	}
	if err := file.Truncate(int64(os.Getpagesize())); err != nil {
		t.Fatal(err)
	}
	writer, err := MapCounters(file)
	if err != nil {
		t.Fatal(err)
	}
	reader, err := MapCounters(file)
	if err != nil {
		t.Fatal(err)
	}
	wasm := watText(t, `(module (import "host" "put" (func $put (param i32))) (memory 2 10) (func (export "_start")
		(call $put (i32.const 0)) (drop (memory.grow (i32.const 3))) (call $put (i32.const 1)) (call $put (i32.const 2))
		(drop (memory.grow (i32.const 100))) (call $put (i32.const 3))))`)
	want := []Counters{{1, 2 * wasmPage}, {2, 5 * wasmPage}, {3, 5 * wasmPage}, {4, 5 * wasmPage}}
	everyWay(t, wasm, func(t *testing.T, m Module) {
		for range 2 { // a guest does not begin where another ended
			put := hostFn("host", "put", "i", "", func(_ abi.Memory, s []uint64) error {
				if *reader != want[uint32(s[0])] {
					t.Errorf("at call %d: %+v, want %+v", uint32(s[0]), *reader, want[uint32(s[0])])
				}
				return nil
			})
			if err := m.Run(context.Background(), RunArgs{Funcs: []abi.Func{put}, Counters: writer}); err != nil {
				t.Fatal(err)
			}
			if *reader != want[3] {
				t.Errorf("at the end: %+v", *reader)
			}
		}
	})
}
