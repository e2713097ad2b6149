package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/runw/runw/pkg/accel"
	"github.com/runw/runw/pkg/accel/acceltest"
	"github.com/runw/runw/pkg/accel/wire"
	"github.com/runw/runw/pkg/aot"
	"github.com/runw/runw/pkg/hostfuncs"
	"github.com/runw/runw/pkg/hostfuncs/abi"
)

func TestMain(m *testing.M) {
	acceltest.Main()
	os.Exit(m.Run())
}

// nnWat calls wasi_ephemeral_nn and exits with the number of the first call
// whose code is not the expected one. Between two calls its memory grows, and
// may move.
const nnWat = `(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "wasi_ephemeral_nn" "load_by_name" (func $load (param i32 i32 i32) (result i32)))
  (import "wasi_ephemeral_nn" "init_execution_context" (func $init (param i32 i32) (result i32)))
  (import "wasi_ephemeral_nn" "set_input" (func $set (param i32 i32 i32) (result i32)))
  (import "wasi_ephemeral_nn" "compute" (func $compute (param i32) (result i32)))
  (import "wasi_ephemeral_nn" "get_output" (func $get (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_ephemeral_nn" "get_metadata" (func $other (param i64 f32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "echo")
  (data (i32.const 32) "\40\00\00\00" "\02\00\00\00" "\03\ff\ff\ff" "\50\00\00\00" "\05\00\00\00")
  (data (i32.const 64) "\ff\ff\ff\ff\ff\ff\ff\ff")
  (data (i32.const 80) "hello")
  (func $want (param $got i32) (param $code i32) (param $call i32)
    (if (i32.ne (local.get $got) (local.get $code)) (then (call $exit (local.get $call)))))
  (func (export "_start")
    (call $want (call $load (i32.const 16) (i32.const 4) (i32.const 0)) (i32.const 0) (i32.const 1))
    (call $want (call $init (i32.load (i32.const 0)) (i32.const 4)) (i32.const 0) (i32.const 2))
    (call $want (call $set (i32.load (i32.const 4)) (i32.const 0) (i32.const 32)) (i32.const 0) (i32.const 3))
    (call $want (call $compute (i32.load (i32.const 4))) (i32.const 0) (i32.const 4))
    (call $want (call $get (i32.load (i32.const 4)) (i32.const 0) (i32.const 128) (i32.const 4) (i32.const 8)) (i32.const 7) (i32.const 5))
    (call $want (i32.load (i32.const 8)) (i32.const 5) (i32.const 6))
    (call $want (i32.load (i32.const 128)) (i32.const 0) (i32.const 7))
    (call $want (call $get (i32.load (i32.const 4)) (i32.const 0) (i32.const 65532) (i32.const 5) (i32.const 8)) (i32.const 1) (i32.const 8))
    (call $want (call $set (i32.load (i32.const 4)) (i32.const 0) (i32.const 65517)) (i32.const 1) (i32.const 9))
    (call $want (call $load (i32.const 16) (i32.const -1) (i32.const 0)) (i32.const 1) (i32.const 10))
    (call $want (memory.grow (i32.const 1000)) (i32.const 1) (i32.const 11))
    (call $want (call $get (i32.load (i32.const 4)) (i32.const 0) (i32.const 65532) (i32.const 5) (i32.const 65600000)) (i32.const 0) (i32.const 12))
    (call $want (i32.load (i32.const 65600000)) (i32.const 5) (i32.const 13))
    (call $want (i32.load (i32.const 65532)) (i32.const 0x6c6c6568) (i32.const 14))
    (call $want (i32.load (i32.const 65536)) (i32.const 0x6f) (i32.const 15))
    (call $want (call $other (i64.const -1) (f32.const 1)) (i32.const 6) (i32.const 16))
    (call $want (call $compute (i32.const -1)) (i32.const 1) (i32.const 17))
    (call $exit (i32.const 0))))`

// A module that computes, on each engine and with a worker process.
func TestInference(t *testing.T) {
	tool, err := exec.LookPath("wat2wasm")
	if err != nil {
		t.Skip("wat2wasm (package wabt) is not installed")
	}
	dir := t.TempDir()
	cmd := exec.Command(tool, "-", "-o", filepath.Join(dir, "nn.wasm"))
	cmd.Stdin = strings.NewReader(nnWat)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	wasm, err := os.ReadFile(filepath.Join(dir, "nn.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "model"), []byte("echo"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, engine := range aot.Engines() {
		t.Run(engine, func(t *testing.T) { runInference(t, engine, wasm, filepath.Join(dir, "model")) })
	}
}

func runInference(t *testing.T, engine string, wasm []byte, model string) {
	fd, _ := acceltest.Start(t, wire.DefaultLimits())
	module, err := aot.Open(context.Background(), aot.OpenArgs{Engine: engine, Wasm: wasm, Warn: func(error) {}})
	if err != nil {
		t.Fatal(err)
	}
	defer module.Close()
	log := func(line string) { t.Log(line) }
	host, err := hostfuncs.New(hostfuncs.Config{
		Stdio: [3]int{-1, -1, -1},
		NN: hostfuncs.NN{
			Inference: wire.NewClient(fd, log), Log: log,
			Models: []hostfuncs.NNModel{{Name: "echo", Encoding: accel.EncodingGGML, Path: model}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	if err := hostfuncs.Check(module.Imports()); err != nil {
		t.Fatal(err)
	}
	funcs, err := host.Link(module.Imports())
	if err != nil {
		t.Fatal(err)
	}
	err = module.Run(context.Background(), aot.RunArgs{Funcs: funcs})
	var exit *abi.ExitError
	if !errors.As(err, &exit) || exit.Code != 0 {
		t.Errorf("the module ends with %v", err)
	}
}
