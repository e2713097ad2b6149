package integration

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// `make cycles` asks for 2,000 cycles.
var (
	cycles = flag.Int("cycles", 40, "how many containers TestCycles creates and deletes")
	kills  = flag.Int("kills", 30, "at how many moments TestKilledRuntime kills the runtime")
)

// TestCycles: many containers, 20 at a time, native ones and modules, and nothing is left
// of them: the boxes count mounts, cgroups, processes, descriptors and files.
func TestCycles(t *testing.T) {
	const lanes = 20
	var boxes []*box
	for i := range lanes {
		guest, args := "busybox", []string{"sleep", "3600"}
		if i%2 == 1 && rt.name == "runw" {
			guest, args = "c/probe", plain("sleep", "3600")
		}
		b := newBox(t, guest, args...)
		must(t, b.Write())
		boxes = append(boxes, b)
	}
	var left atomic.Int64
	left.Store(int64(*cycles))
	begin := time.Now()
	failed := make(chan error, lanes)
	var group sync.WaitGroup
	for _, b := range boxes {
		group.Go(func() {
			for left.Add(-1) >= 0 {
				if err := b.cycle(); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	group.Wait()
	close(failed)
	for err := range failed {
		t.Error(err)
	}
	t.Logf("%d cycles, %d at a time, in %v", *cycles, lanes, time.Since(begin).Round(time.Millisecond))
}

// cycle is a container's whole life. It runs beside others, and so fails by its result.
func (b *box) cycle() error {
	pidFile := filepath.Join(b.dir, "pid")
	steps := [][]string{
		{"create", "--bundle", b.Dir, "--pid-file", pidFile, b.id},
		{"start", b.id}, {"kill", b.id, "KILL"}, nil, {"delete", b.id},
	}
	for _, args := range steps {
		if args == nil {
			if err := b.reap(pidFile); err != nil {
				return err
			}
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
		cmd := exec.CommandContext(ctx, b.binary, append([]string{"--root", b.root}, args...)...)
		cmd.Dir, cmd.Env = b.dir, b.env
		var errs strings.Builder
		if args[0] != "create" { // its container would hold the pipe
			cmd.Stderr = &errs
		}
		err := cmd.Run()
		cancel()
		if err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, errs.String())
		}
	}
	return nil
}

func (b *box) reap(pidFile string) error {
	content, err := os.ReadFile(pidFile)
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(string(content))
	if err != nil {
		return err
	}
	var status unix.WaitStatus
	for {
		_, err := unix.Wait4(pid, &status, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || !status.Signaled() {
			return fmt.Errorf("process %d: %w, status %#x", pid, err, int(status))
		}
		return nil
	}
}

// TestKilledRuntime: whenever runw itself is killed, delete --force removes everything.
func TestKilledRuntime(t *testing.T) {
	needRunw(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	rows := []struct {
		command string
		before  func(*box) // brings the container to where the command can be given
		args    func(*box) []string
	}{
		{"create", func(*box) {}, func(b *box) []string { return []string{"create", "--bundle", b.Dir, b.id} }},
		{"start", func(b *box) { b.create().ok() }, func(b *box) []string { return []string{"start", b.id} }},
		{"exec", func(b *box) { b.begin() }, func(b *box) []string { return []string{"exec", b.id, "sleep", "3600"} }},
		{"delete", func(b *box) { b.create().ok() }, func(b *box) []string { return []string{"delete", b.id} }},
	}
	// The module's native code is there, as it nearly always is.
	newBox(t, "c/probe", plain("hello", "")...).run().ok()
	// More than a command takes: some kills come after its end.
	const window = 80 * time.Millisecond
	for i := range *kills {
		row := rows[i%len(rows)]
		moment := time.Duration(random.Int64N(int64(window)))
		guest := []string{"busybox", "c/probe"}[i/len(rows)%2]
		t.Run(fmt.Sprintf("%s/%s/%v", row.command, guest, moment), func(t *testing.T) {
			b := newBox(t, guest, plain("sleep", "3600")...)
			if guest != "busybox" {
				addBusybox(b)
				must(t, os.Symlink("busybox", b.Path("bin", "sleep")))
			}
			row.before(b)
			must(t, b.Write())
			cmd := b.command(row.args(b)...)
			must(t, cmd.Start())
			time.Sleep(moment)
			must(t, cmd.Process.Kill())
			_ = cmd.Wait()
			b.deleteAdopted()
			if left, _ := os.ReadDir(b.root); len(left) != 0 {
				t.Errorf("%s survives delete --force", left[0].Name())
			}
			mkdir(t, b.root) // the kill may have come before runw made it
			if ids := b.quiet("list", "-q").ok().stdout; ids != "" {
				t.Errorf("list: %q", ids)
			}
			// Processes, cgroups and mounts: the box looks for them.
		})
	}
}

// deleteAdopted is delete --force for a container whose processes have become the test's:
// pid 1 of a namespace ends after the last process in it has been reaped, by its parent.
func (b *box) deleteAdopted() {
	b.t.Helper()
	cmd := exec.Command(b.binary, "--root", b.root, "delete", "--force", b.id)
	cmd.Dir, cmd.Env = b.dir, b.env
	errs := b.stream("stderr")
	defer errs.Close()
	cmd.Stderr = errs
	must(b.t, cmd.Start())
	var status unix.WaitStatus
	ended := eventually(commandTimeout, func() bool {
		for _, pid := range children() {
			if got, _ := unix.Wait4(pid, &status, unix.WNOHANG, nil); got == cmd.Process.Pid {
				return true
			}
		}
		return false
	})
	must(b.t, cmd.Process.Release()) // its status has been taken above
	if !ended || !status.Exited() || status.ExitStatus() != 0 {
		b.t.Fatalf("delete --force: ended %t, status %#x: %s", ended, int(status), b.output("stderr"))
	}
}
