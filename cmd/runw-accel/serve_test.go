package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMain is also the worker of TestPatient.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == workerCommand {
		if err := tellSlack(os.NewFile(engineFD, "engine")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// tellSlack writes the slack of the caller's thread, and then of all.
func tellSlack(to io.Writer) error {
	runtime.LockOSThread()
	if err := patient(); err != nil {
		return err
	}
	own, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil {
		return err
	}
	fmt.Fprintln(to, own)
	threads, err := filepath.Glob("/proc/self/task/*")
	if err != nil {
		return err
	}
	for _, dir := range threads {
		slack, err := os.ReadFile("/proc/" + filepath.Base(dir) + "/timerslack_ns")
		if err != nil {
			return err
		}
		fmt.Fprint(to, string(slack))
	}
	return nil
}

// Go's monitor thread takes its time in a worker; the others do not.
func TestPatient(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the slack of other threads is for root to read")
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	process, err := new(options).spawn(w, w)
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if state, err := process.Wait(); err != nil || !state.Success() {
		t.Fatalf("%v, %v", state, err)
	}
	lines := strings.Fields(string(said))
	if len(lines) < 3 || lines[0] != "50000" || !slices.Contains(lines[1:], "10000000") {
		t.Errorf("the caller's slack and all: %q", lines)
	}
	if own, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0); err != nil || own >= monitorSlack {
		t.Errorf("the supervisor keeps a slack of %d, %v", own, err)
	}
}

// A node of many processors would have two for a model.
func TestWorkerEnv(t *testing.T) {
	got := workerEnv([]string{"GOMAXPROCS=2", "HOME=/tmp", "LC_ALL=C"})
	if want := []string{"HOME=/tmp", "LC_ALL=C"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
