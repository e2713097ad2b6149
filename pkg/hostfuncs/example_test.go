package hostfuncs_test

import (
	"errors"
	"fmt"
	"os"

	"github.com/runw/runw/pkg/hostfuncs"
	"github.com/runw/runw/pkg/hostfuncs/abi"
)

// An engine links what its module imports, hands each call the module's memory
// and parameters, and ends the module when a call gives an error.
func ExampleHost_Link() {
	host, err := hostfuncs.New(hostfuncs.Config{
		Args: []string{"app"}, Stdio: [3]int{-1, -1, -1}, Trace: os.Stdout,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer host.Close()
	i32 := abi.I32
	funcs, err := host.Link([]abi.Import{
		{Module: "wasi_snapshot_preview1", Name: "args_sizes_get", Sig: abi.Signature{
			Params: []abi.ValueType{i32, i32}, Results: []abi.ValueType{i32}}},
		{Module: "wasi_snapshot_preview1", Name: "proc_exit", Sig: abi.Signature{
			Params: []abi.ValueType{i32}}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	memory := make(abi.Memory, 64<<10)
	if err := funcs[0].Call(memory, []uint64{8, 12}); err != nil {
		fmt.Println(err)
	}
	err = funcs[1].Call(memory, []uint64{3})
	var exit *abi.ExitError
	fmt.Println(errors.As(err, &exit), err)
	// Output:
	// args_sizes_get() = SUCCESS argc=1 argv_buf_size=4
	// proc_exit(rval=3) exits
	// true exit status 3
}

// A runtime checks the imports before it makes a container.
func ExampleCheck() {
	err := hostfuncs.Check([]abi.Import{
		{Module: "env", Name: "foo", Sig: abi.Signature{Params: []abi.ValueType{abi.I64}}},
	})
	fmt.Println(errors.Is(err, hostfuncs.ErrUnknownImport))
	fmt.Println(err)
	// Output:
	// true
	// unknown import: env.foo (i64)->
}
