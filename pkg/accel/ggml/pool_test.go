package ggml

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
)

// threadTimes reads what each thread of this process has run, in nanoseconds.
func threadTimes(t *testing.T) map[string]uint64 {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	times := map[string]uint64{}
	for _, task := range tasks {
		content, err := os.ReadFile("/proc/self/task/" + task.Name() + "/schedstat")
		if err != nil {
			continue // it has ended
		}
		var ran uint64
		if _, err := fmt.Sscan(string(content), &ran); err != nil {
			t.Fatalf("schedstat %q: %v", content, err)
		}
		times[task.Name()] = ran
	}
	return times
}

// computing gives a context that has computed.
func computing(t *testing.T, config string) *execution {
	t.Helper()
	e := threadedContext(t, successor(t), config).(*execution)
	compute(t, e)
	return e
}

func compute(t *testing.T, e *execution) {
	t.Helper()
	input(t, e, 0, "abc")
	if err := e.Compute(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := output(t, e, 0); got != "defgh" {
		t.Errorf("%q, want %q", got, "defgh")
	}
}

// TestPool has contexts share threads, which compute and end with the last of them.
func TestPool(t *testing.T) {
	if runtime.GOMAXPROCS(0) < 2 {
		t.Skip("one processor: there is no pool")
	}
	open := backend(t).pools.open
	before := threadTimes(t)
	first := computing(t, `{"threads":2,"n-predict":5}`)
	if first.pool == nil {
		t.Fatal("no pool")
	}
	between := threadTimes(t)
	second := computing(t, `{"threads":1,"threads-batch":2,"n-predict":5}`)
	if second.pool != first.pool || len(open) != 1 {
		t.Errorf("%d pools for contexts of as many threads", len(open))
	}
	compute(t, first)
	after, ran := threadTimes(t), ""
	for thread := range between {
		if _, old := before[thread]; !old && after[thread] > between[thread] {
			ran = thread
		}
	}
	if ran == "" {
		t.Error("no thread of the pool computes")
	}
	first.Close()
	if len(open) != 1 {
		t.Error("the pool ends before its last context")
	}
	compute(t, second)
	second.Close()
	if len(open) != 0 {
		t.Error("the pool stays behind its last context")
	}
}

// TestNoPool is about contexts whose threads are not to stay.
func TestNoPool(t *testing.T) {
	for _, threads := range []int{1, runtime.GOMAXPROCS(0) + 1} {
		e := computing(t, strings.Replace(`{"threads":N,"n-predict":5}`, "N", fmt.Sprint(threads), 1))
		if e.pool != nil {
			t.Errorf("%d threads have a pool", threads)
		}
	}
}
