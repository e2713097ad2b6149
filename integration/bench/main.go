// Bench measures runw beside Debian's runc and crun. One run interleaves everything, and
// quotes medians and ratios: single figures of a busy machine mean little.
//
//	bench              starts, first starts, page faults, idle memory, host calls
//	bench starts       starts alone
//	bench density      many idle containers at once
//	bench kernels      compute speed against gcc -O2
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/runw/runw/integration/bundle"
	"github.com/runw/runw/integration/guests"
	"github.com/runw/runw/integration/machine"
	"golang.org/x/sys/unix"
)

func main() {
	rounds := flag.Int("rounds", 20, "measured starts, or runs, of each row")
	count := flag.Int("count", 1000, "containers of 'density'")
	flag.Parse()
	if code, done := machine.Reexec(); done {
		os.Exit(code)
	}
	err := run(os.Stdout, func(b *bench) error {
		switch what := flag.Arg(0); what {
		case "":
			return b.usual(*rounds)
		case "starts":
			return b.starts(*rounds)
		case "density":
			return b.density(*count)
		case "kernels":
			return b.kernels(*rounds)
		default:
			return fmt.Errorf("%q: want starts, density, kernels or nothing", what)
		}
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type bench struct {
	out      io.Writer
	dir      string
	runtimes map[string]string // name to path
	engines  []string          // that runw has, best first
	number   int
}

// run prepares the machine for f and leaves it as it was.
func run(out io.Writer, f func(*bench) error) (retErr error) {
	if os.Geteuid() != 0 {
		return errors.New("needs root")
	}
	root, err := guests.Root()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "runw-bench-")
	if err != nil {
		return err
	}
	b := &bench{out: out, dir: dir, runtimes: map[string]string{"runw": filepath.Join(root, "bin", "runw")}}
	undo, err := machine.Prepare(dir, true)
	if err != nil {
		return err
	}
	defer func() {
		undo()
		retErr = errors.Join(retErr, os.RemoveAll(dir))
	}()
	for _, peer := range []string{"runc", "crun"} {
		path, err := exec.LookPath(peer)
		if err != nil {
			return err
		}
		b.runtimes[peer] = path
	}
	if b.engines, err = b.linked(); err != nil {
		return err
	}
	if err := b.header(); err != nil {
		return err
	}
	return f(b)
}

func (b *bench) usual(rounds int) error {
	for _, f := range []func() error{
		func() error { return b.starts(rounds) },
		b.compiles,
		func() error { return b.counts(rounds) },
		b.memory,
		b.calls,
	} {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

// linked asks runw for its engines.
func (b *bench) linked() ([]string, error) {
	out, err := exec.Command(b.runtimes["runw"], "features").Output()
	if err != nil {
		return nil, fmt.Errorf("runw features: %w", err)
	}
	var features struct {
		Annotations map[string]string `json:"annotations"`
	}
	if err := json.Unmarshal(out, &features); err != nil {
		return nil, fmt.Errorf("runw features: %w", err)
	}
	return strings.Split(features.Annotations["run.runw.engines"], ","), nil
}

func (b *bench) header() error {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return err
	}
	fmt.Fprintf(b.out, "%s, %d cores, Linux %s, %s\n", time.Now().Format("2 Jan 2006"), runtime.NumCPU(), unix.ByteSliceToString(name.Release[:]), runtime.Version())
	for _, name := range []string{"runw", "runc", "crun"} {
		version, err := exec.Command(b.runtimes[name], "--version").Output()
		if err != nil {
			return fmt.Errorf("%s --version: %w", name, err)
		}
		line, _, _ := strings.Cut(string(version), "\n")
		fmt.Fprintln(b.out, " ", line)
	}
	return nil
}

func (b *bench) table() *tabwriter.Writer {
	return tabwriter.NewWriter(b.out, 0, 0, 2, ' ', tabwriter.AlignRight)
}

func (b *bench) native(args ...string) (*bundle.Bundle, error) {
	n, err := bundle.Native(b.path(), args...)
	if err != nil {
		return nil, err
	}
	return n, b.write(n)
}

func (b *bench) wasm(guest string, args ...string) (*bundle.Bundle, error) {
	module, err := guests.Build(guest)
	if err != nil {
		return nil, err
	}
	w, err := bundle.Wasm(b.path(), module, args...)
	if err != nil {
		return nil, err
	}
	return w, b.write(w)
}

func (b *bench) path() string {
	b.number++
	return filepath.Join(b.dir, fmt.Sprint("bundle", b.number))
}

func (b *bench) write(n *bundle.Bundle) error {
	n.Spec.Linux.CgroupsPath = fmt.Sprintf("/runw-bench-%d-%d", os.Getpid(), b.number)
	return n.Write()
}

func (b *bench) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(b.runtimes[name], append([]string{"--root", filepath.Join(b.dir, "state-"+name)}, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "RUNW_AOT_DIR=" + filepath.Join(b.dir, "aot")}
	return cmd
}

// engine is command for runw with an engine; any name that is none leaves the choice.
func (b *bench) engine(name string, args ...string) *exec.Cmd {
	cmd := b.command("runw", args...)
	if slices.Contains(b.engines, name) {
		cmd.Env = append(cmd.Env, "RUNW_ENGINE="+name)
	}
	return cmd
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func median[T int | time.Duration](all []T) T {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}
