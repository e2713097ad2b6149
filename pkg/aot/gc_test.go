package aot

import (
	"context"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/runw/runw/pkg/hostfuncs/abi"
)

// A guest in a loop without host calls must hold up neither a goroutine that
// waits for a signal nor one that allocates enough for several collections.
func TestSignalsUnderATightLoop(t *testing.T) {
	wasm := watText(t, `(module (memory 1) (func (export "_start") (local i32)
		(loop (i32.store (i32.const 0) (local.get 0))
			(br_if 0 (i32.lt_u (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const 1000000000))))))`)
	m := open(t, OpenArgs{Wasm: wasm})
	sigs := make(chan os.Signal, 1)
	signal.Notify(sigs, syscall.SIGUSR1)
	defer signal.Stop(sigs)
	var stop atomic.Bool
	var rounds int
	var worst time.Duration
	done := make(chan struct{})
	started := make(chan struct{})
	go func() {
		defer close(done)
		<-started
		time.Sleep(20 * time.Millisecond)
		for !stop.Load() {
			t0 := time.Now()
			syscall.Kill(os.Getpid(), syscall.SIGUSR1)
			<-sigs
			if rounds < 100 {
				garbage = make([]byte, 1<<20)
			}
			worst = max(worst, time.Since(t0))
			rounds++
			time.Sleep(time.Millisecond)
		}
	}()
	t0 := time.Now()
	close(started)
	if err := m.Run(context.Background(), RunArgs{}); err != nil {
		t.Fatal(err)
	}
	ran := time.Since(t0)
	stop.Store(true)
	<-done
	if ran < 100*time.Millisecond {
		t.Fatalf("the guest ran for %v only", ran)
	}
	t.Logf("guest ran %v; %d signals, the slowest took %v", ran, rounds, worst)
	if rounds < 20 || worst > ran/2 {
		t.Errorf("guest ran %v; %d signals, the slowest took %v", ran, rounds, worst)
	}
}

var garbage []byte

// Garbage of host functions is collected at host calls, and Go's own settings
// come back after the run.
func TestHostCallsCollect(t *testing.T) {
	wasm := watText(t, `(module (import "host" "put" (func $put (param i32))) (func (export "_start") (local i32)
		(loop (call $put (local.get 0))
			(br_if 0 (i32.lt_u (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const 100000))))))`)
	m := open(t, OpenArgs{Wasm: wasm})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	waste := hostFn("host", "put", "i", "", func(abi.Memory, []uint64) error {
		garbage = make([]byte, 4096)
		return nil
	})
	percent := debug.SetGCPercent(100)
	defer debug.SetGCPercent(percent)
	if err := m.Run(context.Background(), RunArgs{Funcs: []abi.Func{waste}}); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if n := after.NumGC - before.NumGC; n < 3 || int64(after.HeapSys)-int64(before.HeapSys) > 200<<20 {
		t.Errorf("400 MB of garbage: %d collections, heap grew by %d bytes", n, int64(after.HeapSys)-int64(before.HeapSys))
	}
	if p := debug.SetGCPercent(100); p != 100 {
		t.Errorf("GC percent is %d after the run", p)
	}
}
