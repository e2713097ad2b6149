package acceltest

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"github.com/runw/runw/pkg/accel"
	"github.com/runw/runw/pkg/accel/wire"
	"golang.org/x/sys/unix"
)

// workerEnv, set to limits, makes the test binary a worker.
const workerEnv = "RUNW_TEST_NN_WORKER"

// The descriptors that a worker is started with.
const (
	connFD = 3 + iota
	segmentFD
)

// Main serves if this process was started as a worker, and does not return then.
// m.Run follows it in a TestMain.
func Main() {
	text, ok := os.LookupEnv(workerEnv)
	if !ok {
		return
	}
	limits, err := wire.ParseLimits(text)
	if err == nil {
		err = wire.Serve(wire.ServeArgs{
			Conn: connFD, Segment: segmentFD, Limits: limits,
			Backends: []wire.Backend{backend(accel.EncodingGGML), backend(accel.EncodingONNX)},
			Exit:     func() { exit(1) },
		})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		exit(1)
	}
	exit(0)
}

// exit ends the process as a worker's main does, without what a test binary does
// at its end.
func exit(code int) { syscall.Exit(code) }

func backend(e accel.Encoding) wire.Backend {
	return wire.Backend{Encoding: e, Open: func(log func(string)) (accel.Backend, error) {
		return &Backend{For: e, Log: log}, nil
	}}
}

// Spawned are the workers that a supervisor of Start has made, in order.
type Spawned struct {
	limits    wire.Limits
	processes chan *os.Process
}

// Next waits for the first worker that was not asked for yet.
func (s *Spawned) Next() *os.Process { return <-s.processes }

// Start runs a supervisor until the test ends and gives the engine's end of its
// connection, which is the caller's.
func Start(t testing.TB, limits wire.Limits) (engine int, _ *Spawned) {
	t.Helper()
	engine, conn, err := wire.Socketpair()
	if err != nil {
		t.Fatal(err)
	}
	s := &Spawned{limits: limits, processes: make(chan *os.Process, 1<<10)}
	done := make(chan error)
	go func() {
		// The workers' parent-death signal is the thread's (prctl(2)).
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := wire.Supervise(wire.SuperviseArgs{Conn: conn, Limits: limits, Spawn: s.spawn})
		_ = unix.Close(conn)
		done <- err
	}()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Errorf("supervisor: %v", err)
		}
	})
	return engine, s
}

func (s *Spawned) spawn(conn, segment *os.File) (*os.Process, error) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{workerEnv + "=" + s.limits.String()}
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{conn, segment}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s.processes <- cmd.Process
	return cmd.Process, nil
}
