package sandbox

/*
#include "worker_linux.h"
*/
import "C"

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/moby/sys/userns"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// CompileCommand is the argument that makes runw a compile process; the number
// of the order's descriptor follows. worker_linux.c takes the process's rights
// away before its main runs.
const CompileCommand = C.WORKER_COMMAND

// What bounds a compile process wherever it runs.
const (
	// workerMemory is its private memory in bytes, unless half of the machine's
	// is less. 13 kB of nested loops made an engine take 1.2 GB.
	workerMemory = 4 << 30
	// workerOutput is the native code in bytes; the largest seen are 8 times
	// their module.
	workerOutput = 256 << 20
	perInputByte = 32
	// workerUser is added to the process's id for its user and group: a range
	// that systemd's list of users leaves free, above all containers', and of
	// the size of a process id (at most 2^22).
	workerUser = 0x70000000
	// stuckKill bounds the wait for a process that was killed: a frozen cgroup
	// v1 keeps it.
	stuckKill = 5 * time.Second
)

// Worker runs compile processes, each within the limits of one container.
type Worker struct {
	// join puts a process into the container's cgroup; its seat may come with an
	// error. nil: there is none.
	join func(pid int) (*seat, error)
}

// Run starts a compile process with the two files and waits for its end. The
// process can read job and write output, and nothing else of the machine. It is
// killed when ctx ends; the error is then the cause of that. An error tells also
// of a process that ended in any other way than by itself and well.
func (w *Worker) Run(ctx context.Context, job, output *os.File) error {
	// The kernel's PR_SET_PDEATHSIG is about the thread that made the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	p, err := startWorker(job, output)
	if err != nil {
		return fmt.Errorf("start the compile process: %w", err)
	}
	defer p.close()
	s := &seat{}
	if w.join != nil {
		s, err = w.join(p.cmd.Process.Pid)
		defer s.leave() // when the process has ended
	}
	if err != nil {
		p.kill()
		return err
	}
	p.prefer()
	if err := p.order(ctx, job, s); err != nil {
		p.kill()
		return fmt.Errorf("compile process: %w", err)
	}
	select {
	case <-p.ended:
	case <-ctx.Done():
		p.kill()
		return context.Cause(ctx)
	}
	return p.verdict(s)
}

// worker is one compile process.
type worker struct {
	cmd     *exec.Cmd
	orders  *os.File // its end tells the process that nobody waits for it
	stderr  *os.File
	ended   chan struct{}
	user    bool   // its own in this user namespace
	private uint64 // bytes of memory it may have
}

func startWorker(job, output *os.File) (_ *worker, retErr error) {
	p := &worker{ended: make(chan struct{}), user: os.Geteuid() == 0 && !userns.RunningInUserNS()}
	defer func() {
		if retErr != nil {
			p.close()
		}
	}()
	fd, err := unix.MemfdCreate("runw-compile-stderr", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	p.stderr = os.NewFile(uintptr(fd), "stderr")
	orders, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer orders.Close()
	p.orders = write
	p.cmd = exec.Command("/proc/self/exe", CompileCommand, "3")
	p.cmd.Args[0] = "runw"
	// GODEBUG and the like are the caller's to set for itself.
	p.cmd.Env = []string{"GODEBUG=containermaxprocs=1"}
	p.cmd.Stderr = p.stderr
	p.cmd.ExtraFiles = []*os.File{orders, job, output}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true, // a terminal's SIGINT is for the parent
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWPID,
	}
	if !p.user {
		own := func(id int) []syscall.SysProcIDMap { return []syscall.SysProcIDMap{{HostID: id, Size: 1}} }
		p.cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		p.cmd.SysProcAttr.UidMappings, p.cmd.SysProcAttr.GidMappings = own(os.Geteuid()), own(os.Getegid())
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait() // ProcessState says it all
		close(p.ended)
	}()
	return p, nil
}

func (p *worker) close() {
	if p.orders != nil {
		p.orders.Close()
	}
	if p.stderr != nil {
		p.stderr.Close()
	}
}

// kill ends the process, and with it all of its pid namespace.
func (p *worker) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	select {
	case <-p.ended:
	case <-time.After(stuckKill):
		logrus.Warnf("compile process %d was killed and has not ended", p.cmd.Process.Pid)
	}
}

// prefer makes this process the one that the kernel kills when the container's
// memory is used up, and not one of the container's.
func (p *worker) prefer() {
	path := fmt.Sprintf("/proc/%d/oom_score_adj", p.cmd.Process.Pid)
	if err := os.WriteFile(path, []byte("1000"), 0); err != nil {
		logrus.Debugf("compile process: %v", err)
	}
}

// order tells the waiting process its limits; from then on it goes ahead.
func (p *worker) order(ctx context.Context, job *os.File, s *seat) error {
	info, err := job.Stat()
	if err != nil {
		return err
	}
	p.private = workerMemory
	var machine unix.Sysinfo_t
	if err := unix.Sysinfo(&machine); err == nil {
		p.private = min(p.private, uint64(machine.Totalram)*uint64(machine.Unit)/2)
	}
	user := uint64(0)
	if p.user {
		user = workerUser + uint64(p.cmd.Process.Pid)
	}
	// struct worker_order
	var b []byte
	for _, v := range []uint64{
		C.WORKER_MAGIC, user, p.private, workerOutput + perInputByte*uint64(info.Size()), cpuSeconds(ctx), s.memory, s.tasks,
	} {
		b = binary.NativeEndian.AppendUint64(b, v)
	}
	_, err = p.orders.Write(b)
	return err
}

// cpuSeconds is the time that all processors have until the deadline.
func cpuSeconds(ctx context.Context) uint64 {
	end, ok := ctx.Deadline()
	if !ok {
		return math.MaxUint64 // RLIM_INFINITY
	}
	return uint64(max(time.Until(end).Seconds(), 0)*float64(runtime.NumCPU())) + 1
}

// verdict tells in words how the process ended; nil is well.
func (p *worker) verdict(s *seat) error {
	state := p.cmd.ProcessState
	status, _ := state.Sys().(syscall.WaitStatus)
	text := p.lastWords()
	switch {
	case state.Success():
		return nil
	case status.Signaled() && status.Signal() == unix.SIGKILL && s.killed():
		return fmt.Errorf("compiling takes more memory than the container's limit of %d bytes leaves", s.memory)
	case outOfMemory(text):
		return fmt.Errorf("compiling takes more than the %d bytes of memory that a compile process may have", p.private)
	case status.Signaled() && status.Signal() == unix.SIGSYS:
		return errors.New("the compile process was killed for a forbidden system call")
	case status.Signaled():
		return said(fmt.Sprintf("the compile process was killed by %s", unix.SignalName(status.Signal())), text)
	}
	return said(fmt.Sprintf("the compile process failed with status %d", state.ExitCode()), text)
}

func said(what, text string) error {
	if text != "" {
		what += ": " + text
	}
	return errors.New(what)
}

// outOfMemory knows the words of Go's and of Rust's allocator.
func outOfMemory(text string) bool {
	return strings.Contains(text, "out of memory") || strings.Contains(text, "cannot allocate memory") ||
		strings.Contains(text, "memory allocation of")
}

// lastWords is the first line that the process wrote on stderr, as text.
func (p *worker) lastWords() string {
	const enough = 300
	b := make([]byte, enough)
	n, _ := p.stderr.ReadAt(b, 0) // less than enough is io.EOF
	return firstLine(b[:n])
}

// firstLine makes what another process said fit for a message.
func firstLine(b []byte) string {
	line, _, _ := bytes.Cut(bytes.TrimSpace(b), []byte("\n"))
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, string(line))
}

// Work is what a compile process finds.
type Work struct {
	Job, Output *os.File
	// Memory is the memory limit in force in bytes, Tasks that of threads; 0 is
	// none.
	Memory, Tasks uint64
}

// ReadWork takes what the parent left; args follow CompileCommand.
func ReadWork(args []string) (*Work, error) {
	if len(args) != 1 || C.runw_worker_order.magic != C.WORKER_MAGIC {
		return nil, errors.New("started by 'runw create', not by hand")
	}
	fd, err := strconv.Atoi(args[0])
	if err != nil {
		return nil, err
	}
	return &Work{
		Job:    received(fd+1, "job"),
		Output: received(fd+2, "output"),
		Memory: uint64(C.runw_worker_order.memory),
		Tasks:  uint64(C.runw_worker_order.tasks),
	}, nil
}
