// Demo runs a Wasm module and a busybox shell from OCI bundles with bin/runw, and shows
// what was called and what came of it. It needs root, Go and busybox-static; a C compiler
// for Wasm is used where there is one.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/runw/runw/integration/bundle"
	"github.com/runw/runw/integration/guests"
)

func main() {
	if err := run(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

type demo struct {
	out    io.Writer
	runw   string
	dir    string
	number int
}

func run(out io.Writer) (retErr error) {
	if os.Geteuid() != 0 {
		return errors.New("needs root, for mounts and cgroups")
	}
	root, err := guests.Root()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "runw-demo-")
	if err != nil {
		return err
	}
	defer func() { retErr = errors.Join(retErr, os.RemoveAll(dir)) }()
	d := &demo{out: out, runw: filepath.Join(root, "bin", "runw"), dir: dir}
	if err := d.module("go/hello", "A Go program, compiled to WebAssembly (GOOS=wasip1)"); err != nil {
		return err
	}
	if _, err := exec.LookPath("clang"); err == nil {
		if err := d.module("c/probe", "A C program, compiled to WebAssembly (clang, wasi-libc)"); err != nil {
			return err
		}
	}
	if err := d.shell(); err != nil {
		return err
	}
	return d.lifecycle()
}

func (d *demo) module(guest, title string) error {
	b, err := d.wasm(guest)
	if err != nil {
		return err
	}
	info, err := os.Stat(b.Path("app.wasm"))
	if err != nil {
		return err
	}
	d.say("%s.\nThe bundle's rootfs holds nothing but app.wasm, mode %o, %d kB.", title, info.Mode().Perm(), info.Size()>>10)
	for _, note := range []string{"compiled now, and kept", "the same again: the native code is there"} {
		begin := time.Now()
		if err := d.call("run", "--bundle", b.Dir, d.id()); err != nil {
			return err
		}
		fmt.Fprintf(d.out, "  (%d ms; %s)\n", time.Since(begin).Milliseconds(), note)
	}
	return nil
}

func (d *demo) shell() error {
	b, err := bundle.Native(d.bundle(), "sh", "-c", "echo hello from a busybox shell; echo I am pid $$ on $(hostname) and see:; ls /")
	if err != nil {
		return err
	}
	b.Spec.Hostname = "demo"
	if err := d.write(b); err != nil {
		return err
	}
	d.say("A Linux program, by the same command: busybox's shell in namespaces of its own.")
	return d.call("run", "--bundle", b.Dir, d.id())
}

// lifecycle makes the calls that a container manager makes.
func (d *demo) lifecycle() error {
	b, err := d.wasm("go/probe", "sleep", "3600")
	if err != nil {
		return err
	}
	d.say("What podman and containerd call, for a module that sleeps for an hour.")
	id := d.id()
	defer func() { _ = exec.Command(d.runw, d.args("delete", "--force", id)...).Run() }()
	for _, args := range [][]string{
		{"create", "--bundle", b.Dir, id}, {"start", id}, {"list"}, {"kill", id, "TERM"}, {"delete", "--force", id}, {"list"},
	} {
		if err := d.call(args...); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) wasm(guest string, args ...string) (*bundle.Bundle, error) {
	path, err := guests.Build(guest)
	if err != nil {
		return nil, err
	}
	b, err := bundle.Wasm(d.bundle(), path, args...)
	if err != nil {
		return nil, err
	}
	return b, d.write(b)
}

func (d *demo) bundle() string {
	d.number++
	return filepath.Join(d.dir, fmt.Sprint("bundle", d.number))
}

func (d *demo) id() string { return fmt.Sprint("demo", d.number) }

func (d *demo) write(b *bundle.Bundle) error {
	b.Spec.Linux.CgroupsPath = fmt.Sprintf("/runw-demo-%d-%d", os.Getpid(), d.number)
	return b.Write()
}

func (d *demo) args(args ...string) []string {
	return append([]string{"--root", filepath.Join(d.dir, "state"), "--aot-dir", filepath.Join(d.dir, "aot")}, args...)
}

func (d *demo) call(args ...string) error {
	fmt.Fprintln(d.out, "  $ runw", strings.ReplaceAll(strings.Join(args, " "), d.dir+"/", ""))
	cmd := exec.Command(d.runw, d.args(args...)...)
	// A file, and not a pipe: a created container keeps it open.
	output, err := os.CreateTemp(d.dir, "output")
	if err != nil {
		return err
	}
	defer output.Close()
	cmd.Stdout, cmd.Stderr = output, output
	err = cmd.Run()
	text, _ := os.ReadFile(output.Name())
	for line := range strings.Lines(string(text)) {
		fmt.Fprint(d.out, "    ", strings.ReplaceAll(line, d.dir+"/", ""))
	}
	if err != nil {
		return fmt.Errorf("runw %s: %w", args[0], err)
	}
	return nil
}

func (d *demo) say(format string, values ...any) {
	fmt.Fprintf(d.out, "\n"+format+"\n", values...)
}
