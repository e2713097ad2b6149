package clients

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// commandTimeout ends a client that hangs.
const commandTimeout = 90 * time.Second

// client is a command line to which each call adds its arguments.
type client struct {
	t     *testing.T
	argv  []string
	env   []string // all of it, if there is any
	cred  *syscall.Credential
	stdin string
}

// result is what a command answered.
type result struct {
	t        *testing.T
	line     string
	code     int
	out, err string
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// run runs the command to its end.
func (c client) run(args ...string) result {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	cmd := c.command(ctx, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(c.stdin), &stdout, &stderr
	// Monitors inherit the pipes and may keep them.
	cmd.WaitDelay = 2 * time.Second
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		c.t.Fatalf("%s: %v", strings.Join(cmd.Args, " "), err)
	}
	r := result{c.t, strings.Join(cmd.Args, " "), cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
	if ctx.Err() != nil {
		c.t.Fatalf("%s\nno end after %v, stdout %q, stderr %q", r.line, commandTimeout, r.out, r.err)
	}
	return r
}

func (c client) command(ctx context.Context, args ...string) *exec.Cmd {
	argv := append(append([]string{}, c.argv...), args...)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env, cmd.Dir = c.env, tmp // conmon leaves a file named oom where it is started
	if c.cred != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.cred}
	}
	return cmd
}

// in returns the client with text for the command's standard input.
func (c client) in(text string) client {
	c.stdin = text
	return c
}

// on returns the client with which a subtest goes on.
func (c client) on(t *testing.T) client {
	c.t = t
	return c
}

// exits fails the test unless the command ended with this status.
func (r result) exits(code int) result {
	r.t.Helper()
	if r.code != code {
		r.t.Fatalf("%s\nexit status %d, want %d\nstdout: %s\nstderr: %s", r.line, r.code, code, r.out, r.err)
	}
	return r
}

func (r result) ok() result {
	r.t.Helper()
	return r.exits(0)
}

// says fails the test unless the text is in the command's output, either of the two.
func (r result) says(texts ...string) result {
	r.t.Helper()
	for _, text := range texts {
		if !strings.Contains(r.out+r.err, text) {
			r.t.Errorf("%s\ndoes not say %q\nstdout: %s\nstderr: %s", r.line, text, r.out, r.err)
		}
	}
	return r
}

// text returns what was printed on stdout, without the line's end.
func (r result) text() string { return strings.TrimSpace(r.out) }

// await waits until what holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited 30 s for %s", what)
		}
	}
}

// skip skips the test and says why, without -v too.
func skip(t *testing.T, format string, args ...any) {
	t.Helper()
	reason := fmt.Sprintf(format, args...)
	fmt.Printf("skipped: %s: %s\n", t.Name(), reason)
	t.Skip(reason)
}

// need skips the test if a client's program is missing.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			skip(t, "%v: install the packages of .ci/deps clients", err)
		}
	}
}

// shared makes a directory that every user may write into, and reach.
func shared(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(tmp, "shared-")
	must(t, err)
	must(t, os.Chmod(dir, 0o777))
	return dir
}

// write writes a file of the test.
func write(t *testing.T, path, content string, mode os.FileMode) string {
	t.Helper()
	must(t, os.WriteFile(path, []byte(content), mode))
	return path
}
