package aot_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/runw/runw/pkg/aot"
	"github.com/runw/runw/pkg/hostfuncs/abi"
)

// exit3 is (module (import "host" "exit" (func (param i32)))
// (func (export "_start") i32.const 3 call 0)).
const exit3 = "\x00asm\x01\x00\x00\x00" +
	"\x01\x08\x02\x60\x01\x7f\x00\x60\x00\x00" +
	"\x02\x0d\x01\x04host\x04exit\x00\x00" +
	"\x03\x02\x01\x01" +
	"\x07\x0a\x01\x06_start\x00\x01" +
	"\x0a\x08\x01\x06\x00\x41\x03\x10\x00\x0b"

func ExampleInspect() {
	info, err := aot.Inspect([]byte(exit3))
	if err != nil {
		log.Fatal(err)
	}
	for _, i := range info.Imports {
		fmt.Println("import", i.Module, i.Name, i.Sig)
	}
	for _, e := range info.Exports {
		fmt.Println("export", e.Name, e.Kind, e.Sig)
	}
	// Output:
	// import host exit (i32)->
	// export _start func ()->
}

// The parent ensures, the engine process opens and runs.
func ExampleEnsure() {
	dir, err := os.MkdirTemp("", "aot")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()

	store, err := aot.OpenStore(filepath.Join(dir, "store"))
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	a, err := aot.Ensure(ctx, aot.EnsureArgs{Wasm: []byte(exit3), Store: store})
	if err != nil {
		log.Fatal(err)
	}
	defer a.File.Close()

	m, err := aot.Open(ctx, aot.OpenArgs{Engine: a.Engine, Wasm: []byte(exit3), Artifact: a.File})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	err = m.Run(ctx, aot.RunArgs{Funcs: []abi.Func{{
		Import: m.Imports()[0],
		Call:   func(_ abi.Memory, stack []uint64) error { return &abi.ExitError{Code: uint32(stack[0])} },
	}}})
	var exit *abi.ExitError
	fmt.Println(errors.As(err, &exit), err)
	// Output: true exit status 3
}
