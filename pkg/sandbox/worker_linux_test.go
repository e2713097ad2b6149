package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The test binary is a compile process as well: its C constructor is runw's.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == CompileCommand {
		os.Exit(work(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// work does what the job says in words.
func work(args []string) int {
	w, err := ReadWork(args)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// The race detector complains of the missing /proc.
	if err := errors.Join(unix.Ftruncate(2, 0), seekStart(2)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	job, err := io.ReadAll(io.NewSectionReader(w.Job, 0, 1<<20))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	switch word, rest, _ := strings.Cut(string(job), " "); word {
	case "answer":
		_, err = w.Output.WriteAt([]byte(rest), 0)
	case "try":
		_, err = w.Output.WriteAt([]byte(tries()), 0)
	case "fail":
		fmt.Fprint(os.Stderr, rest)
		return 3
	case "panic":
		panic(rest)
	case "hang":
		time.Sleep(time.Hour)
	case "memory":
		return len(make([]byte, 1<<40))
	case "output":
		err = w.Output.Truncate(1 << 40)
	case "exec":
		err = unix.Exec("/proc/self/exe", []string{"x"}, nil)
	case "fork":
		if _, _, errno := unix.RawSyscall(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0); errno != 0 {
			err = errno
		}
	case "socket":
		_, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	case "ptrace":
		err = unix.PtraceAttach(1)
	case "shoot":
		err = unix.Tgkill(1, 1, unix.SIGABRT)
		time.Sleep(time.Hour)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func seekStart(fd int) error {
	_, err := unix.Seek(fd, 0, io.SeekStart)
	return err
}

// tries lists what a process without rights could still do, empty if nothing.
func tries() string {
	var could []string
	try := func(what string, err error) {
		if err == nil {
			could = append(could, what)
		}
	}
	_, err := os.Open("/")
	try("open /", err)
	_, err = os.ReadDir(".")
	try("list .", err)
	try("write", os.WriteFile("/file", nil, 0o600))
	try("kill", unix.Kill(-1, unix.SIGCONT))
	try("prlimit", unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: 1 << 40, Max: 1 << 40}))
	try("dumpable", unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0))
	try("no death with its parent", unix.Prctl(unix.PR_SET_PDEATHSIG, 0, 0, 0, 0))
	_, err = unix.MemfdCreate("x", 0)
	try("memfd", err)
	_, err = unix.FcntlInt(1, unix.F_SETOWN, 1)
	try("F_SETOWN", err)
	return strings.Join(could, ", ")
}

// runWorker has a compile process do a job in words.
func runWorker(t *testing.T, ctx context.Context, job string) (output string, err error) {
	t.Helper()
	in, out := memfd(t), memfd(t)
	if _, err := in.WriteString(job); err != nil {
		t.Fatal(err)
	}
	err = HostWorker().Run(ctx, in, out)
	if err != nil && strings.HasPrefix(err.Error(), "start the compile process: ") && errors.Is(err, os.ErrPermission) {
		t.Skipf("needs namespaces: %v", err)
	}
	b, readErr := io.ReadAll(io.NewSectionReader(out, 0, 1<<20))
	if readErr != nil {
		t.Fatal(readErr)
	}
	return string(b), err
}

func memfd(t *testing.T) *os.File {
	t.Helper()
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "test")
	t.Cleanup(func() { f.Close() })
	return f
}

func TestWorker(t *testing.T) {
	if out, err := runWorker(t, context.Background(), "answer forty-two"); err != nil || out != "forty-two" {
		t.Errorf("%q, %v", out, err)
	}
	if out, err := runWorker(t, context.Background(), "try"); err != nil || out != "" {
		t.Errorf("it could %s; %v", out, err)
	}
}

// However a compile process ends, the parent has a sentence for it.
func TestWorkerEnds(t *testing.T) {
	for job, says := range map[string]string{
		"fail no \x1b[31mway\nsecond": "failed with status 3: no [31mway",
		"fail ":                       "failed with status 3",
		"panic at the disco":          "status 2: panic: at the disco",
		"memory":                      "bytes of memory that a compile process may have",
		"output":                      "file too large",
		"exec":                        "forbidden system call",
		"fork":                        "forbidden system call",
		"socket":                      "forbidden system call",
		"ptrace":                      "forbidden system call",
		"shoot":                       "SIGABRT",
	} {
		t.Run(job, func(t *testing.T) {
			if job == "memory" && underRace {
				t.Skip("the race detector has other words for it")
			}
			out, err := runWorker(t, context.Background(), job)
			if err == nil || !strings.Contains(err.Error(), says) || strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("%q, %v, want %q", out, err, says)
			}
		})
	}
}

// The deadline ends it, with the words of whoever set it.
func TestWorkerDeadline(t *testing.T) {
	late := errors.New("too late")
	ctx, cancel := context.WithTimeoutCause(context.Background(), 50*time.Millisecond, late)
	defer cancel()
	if _, err := runWorker(t, ctx, "hang"); !errors.Is(err, late) {
		t.Errorf("%v, want %v", err, late)
	}
	if pids, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err == nil {
		t.Errorf("a child is left: %d", pids)
	}
}

// Nobody becomes a compile process by its name alone.
func TestWorkerByHand(t *testing.T) {
	if _, err := ReadWork([]string{"3"}); err == nil {
		t.Error("work without an order")
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	var said bytes.Buffer
	stderr, stderrEnd, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := os.StartProcess("/proc/self/exe", []string{"runw", CompileCommand, "3"}, &os.ProcAttr{Files: []*os.File{null, null, stderrEnd, r}})
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	stderrEnd.Close()
	_, _ = io.Copy(&said, stderr)
	stderr.Close()
	state, err := p.Wait()
	if err != nil || state.ExitCode() != 125 || !strings.Contains(said.String(), "not by hand") {
		t.Errorf("%v, %v: %s", state, err, said.String())
	}
}

// An id is taken while a container has it, or only its directory.
func TestVacant(t *testing.T) {
	r := &Runtime{Root: t.TempDir()}
	if err := os.Mkdir(filepath.Join(r.Root, "half"), 0o700); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]error{"": ErrEmptyID, "..": ErrInvalidID, "a/b": ErrInvalidID, "half": ErrExist, "free": nil} {
		if err := r.Vacant(id); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", id, err, want)
		}
	}
}

// BenchmarkWorker is what a process costs beside the work.
func BenchmarkWorker(b *testing.B) {
	for b.Loop() {
		fd, err := unix.MemfdCreate("bench", unix.MFD_CLOEXEC)
		if err != nil {
			b.Fatal(err)
		}
		f := os.NewFile(uintptr(fd), "bench")
		if err := HostWorker().Run(context.Background(), f, f); err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}
