package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/runw/runw/integration/bundle"
	"golang.org/x/sys/unix"
)

// crowd is many idle containers.
type crowd struct {
	*bench
	engine string
	mu     sync.Mutex
	pids   map[string]int // by container
}

// density starts count idle Wasm containers through the command line, asks each for its
// state, deletes them all and looks for what is left, for each engine.
func (b *bench) density(count int) error {
	for _, engine := range b.engines {
		c := &crowd{bench: b, engine: engine, pids: map[string]int{}}
		if err := c.measure(count); err != nil {
			return errors.Join(fmt.Errorf("%s: %w", engine, err), c.remove())
		}
	}
	return nil
}

func (c *crowd) measure(count int) error {
	// The first start compiles; it is not one of the crowd.
	if err := c.create(1, 0); err != nil {
		return err
	}
	if err := errors.Join(c.enoughIDs(count), c.remove()); err != nil {
		return err
	}
	before, err := available()
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := c.create(count, 1); err != nil {
		return err
	}
	created := time.Since(begin)
	time.Sleep(2 * time.Second) // the last ones fall asleep
	after, err := available()
	if err != nil {
		return err
	}
	sum := map[string]float64{}
	for id, pid := range c.pids {
		values, err := rollup(pid)
		if err != nil {
			return fmt.Errorf("%s: %w", id, err)
		}
		for _, name := range []string{"Pss", "Anonymous"} {
			sum[name] += values[name]
		}
	}
	begin = time.Now()
	for id := range c.pids {
		if err := c.running(id); err != nil {
			return err
		}
	}
	asked := time.Since(begin)
	begin = time.Now()
	if err := c.remove(); err != nil {
		return err
	}
	n := float64(count)
	fmt.Fprintf(c.out, "\n%s: %d idle Wasm containers at once\n", c.engine, count)
	fmt.Fprintf(c.out, "  created in %.1f s, all running (asked in %.1f s), deleted in %.1f s, nothing left\n", created.Seconds(), asked.Seconds(), time.Since(begin).Seconds())
	fmt.Fprintf(c.out, "  memory of the machine %.0f MB, %.2f MB each\n", (before-after)/1024, (before-after)/1024/n)
	fmt.Fprintf(c.out, "  Pss %.2f MB each, of it anonymous %.2f MB\n", sum["Pss"]/1024/n, sum["Anonymous"]/1024/n)
	return nil
}

// enoughIDs refuses what the kernel has no numbers for: a thread each, those of the one
// container that is there times count.
func (c *crowd) enoughIDs(count int) error {
	content, err := os.ReadFile("/proc/sys/kernel/pid_max")
	if err != nil {
		return err
	}
	most, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		return err
	}
	time.Sleep(time.Second) // it falls asleep
	for _, pid := range c.pids {
		threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil {
			return err
		}
		if need := len(threads) * count; need > most-2000 { // the machine has some, and so have creates
			return fmt.Errorf("%d containers of %d threads do not fit into kernel.pid_max, which is %d: raise it", count, len(threads), most)
		}
	}
	return nil
}

// create starts count containers, some at a time.
func (c *crowd) create(count, first int) error {
	const workers = 4
	jobs := make(chan int)
	failures := make(chan error, workers)
	for range workers {
		made, err := c.wasm("wat/probe", "sleep", "3600")
		if err != nil {
			return err
		}
		go func() { failures <- c.work(made, jobs) }()
	}
	for i := range count {
		jobs <- first + i
	}
	close(jobs)
	var err error
	for range workers {
		err = errors.Join(err, <-failures)
	}
	return err
}

// work takes all jobs, also after a failure: who gives them waits.
func (c *crowd) work(made *bundle.Bundle, jobs chan int) (failed error) {
	for i := range jobs {
		if failed != nil {
			continue
		}
		id := fmt.Sprintf("idle-%s-%d", c.engine, i)
		made.Spec.Linux.CgroupsPath = c.cgroup(id)
		if failed = made.Write(); failed != nil {
			continue
		}
		pid, err := c.detach(made, c.engine, id)
		if failed = err; err == nil {
			c.mu.Lock()
			c.pids[id] = pid
			c.mu.Unlock()
		}
	}
	return failed
}

func (c *crowd) cgroup(id string) string { return fmt.Sprintf("/runw-bench-%d-%s", os.Getpid(), id) }

// running asks for a container's state.
func (c *crowd) running(id string) error {
	out, err := c.command("runw", "state", id).Output()
	if err != nil {
		return fmt.Errorf("state %s: %w", id, err)
	}
	var state struct {
		Status string `json:"status"`
		PID    int    `json:"pid"`
	}
	if err := json.Unmarshal(out, &state); err != nil {
		return fmt.Errorf("state %s: %w", id, err)
	}
	if state.Status != "running" || state.PID != c.pids[id] {
		return fmt.Errorf("state %s: %s with pid %d, want running with %d", id, state.Status, state.PID, c.pids[id])
	}
	return nil
}

// remove deletes all and looks for states, processes and cgroups.
func (c *crowd) remove() error {
	var failed error
	for id, pid := range c.pids {
		if out, err := c.command("runw", "delete", "--force", id).CombinedOutput(); err != nil {
			failed = errors.Join(failed, fmt.Errorf("delete %s: %w: %s", id, err, out))
		}
		_, _ = unix.Wait4(pid, nil, 0, nil)
		if unix.Kill(pid, 0) == nil {
			failed = errors.Join(failed, fmt.Errorf("%s: process %d is left", id, pid))
		}
		for _, pattern := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
			if left, _ := filepath.Glob(pattern + c.cgroup(id)); len(left) > 0 {
				failed = errors.Join(failed, fmt.Errorf("%s: left: %v", id, left))
			}
		}
	}
	clear(c.pids)
	left, _ := filepath.Glob(filepath.Join(c.dir, "state-runw", "idle-*"))
	if len(left) > 0 {
		failed = errors.Join(failed, fmt.Errorf("left: %v", left))
	}
	return failed
}

// available is the machine's available memory in kB.
func available() (float64, error) {
	content, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(content)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "MemAvailable:" {
			return strconv.ParseFloat(fields[1], 64)
		}
	}
	return 0, errors.New("/proc/meminfo: no MemAvailable")
}
