// Bench measures runw beside Debian's runc and crun: what a start costs, what an idle
// container holds in memory, and what a host call takes. One run interleaves everything, and
// quotes medians and ratios: single figures of a busy machine mean little.
package main

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/runw/runw/integration/bundle"
	"github.com/runw/runw/integration/guests"
	"github.com/runw/runw/integration/machine"
)

func main() {
	rounds := flag.Int("rounds", 20, "measured starts of each row")
	flag.Parse()
	if code, done := machine.Reexec(); done {
		os.Exit(code)
	}
	if err := run(os.Stdout, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type bench struct {
	out      io.Writer
	dir      string
	runtimes map[string]string // name to path
	number   int
}

// modules are small, usual and big.
var modules = []struct{ guest, title string }{
	{"wat/tiny", "96-byte module"},
	{"go/hello", "Go hello"},
	{"go/big", "Go net/http + encoding/json"},
}

func run(out io.Writer, rounds int) (retErr error) {
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
	if err := b.header(); err != nil {
		return err
	}
	if err := b.starts(rounds); err != nil {
		return err
	}
	if err := b.memory(); err != nil {
		return err
	}
	return b.calls()
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

// row is one thing that is started again and again.
type row struct {
	title, runtime string
	bundle         *bundle.Bundle
	cold           bool
	took           []time.Duration
}

func (b *bench) starts(rounds int) error {
	rows, err := b.rows()
	if err != nil {
		return err
	}
	const warmUp = 1 // fills the store and the page cache
	for round := range warmUp + rounds {
		for _, r := range rows {
			if r.cold && round > max(3, rounds/4) {
				continue
			}
			took, err := b.start(r)
			if err != nil {
				return err
			}
			if round >= warmUp {
				r.took = append(r.took, took)
			}
		}
	}
	runc := rows[slices.IndexFunc(rows, func(r *row) bool { return r.runtime == "runc" })].median()
	table := tabwriter.NewWriter(b.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "\n`run` to its end\truntime\tmedian ms\tleast ms\tof runc's native\t")
	for _, r := range rows {
		fmt.Fprintf(table, "%s\t%s\t%.1f\t%.1f\t%.2f\t\n", r.title, r.runtime, ms(r.median()), ms(slices.Min(r.took)), float64(r.median())/float64(runc))
	}
	return table.Flush()
}

func (b *bench) rows() ([]*row, error) {
	native, err := b.native("true")
	if err != nil {
		return nil, err
	}
	var rows []*row
	for _, name := range []string{"runw", "runc", "crun"} {
		rows = append(rows, &row{title: "/bin/true", runtime: name, bundle: native})
	}
	for _, cold := range []bool{false, true} {
		for _, m := range modules {
			wasm, err := b.wasm(m.guest)
			if err != nil {
				return nil, err
			}
			title := m.title + ", warm"
			if cold {
				title = m.title + ", cold"
			}
			rows = append(rows, &row{title: title, runtime: "runw", bundle: wasm, cold: cold})
		}
	}
	return rows, nil
}

func (b *bench) start(r *row) (time.Duration, error) {
	if r.cold {
		if err := os.RemoveAll(filepath.Join(b.dir, "aot-cold")); err != nil {
			return 0, err
		}
	}
	b.number++
	cmd := b.command(r.runtime, "run", "--bundle", r.bundle.Dir, fmt.Sprint("bench", b.number))
	if r.cold {
		cmd.Env = append(cmd.Env, "RUNW_AOT_DIR="+filepath.Join(b.dir, "aot-cold"))
	}
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	begin := time.Now()
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("%s, %s: %w: %s", r.runtime, r.title, err, output.String())
	}
	return time.Since(begin), nil
}

func (r *row) median() time.Duration {
	sorted := slices.Sorted(slices.Values(r.took))
	return sorted[len(sorted)/2]
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

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

// memory reads what the kernel says of containers that sleep.
func (b *bench) memory() error {
	sleepers := []struct {
		title string
		make  func() (*bundle.Bundle, error)
	}{
		{"native sleep", func() (*bundle.Bundle, error) { return b.native("sleep", "3600") }},
		{"WAT, asleep", func() (*bundle.Bundle, error) { return b.wasm("wat/probe", "sleep", "3600") }},
		{"C, asleep", func() (*bundle.Bundle, error) { return b.wasm("c/probe", "sleep", "3600") }},
		{"Go, asleep", func() (*bundle.Bundle, error) { return b.wasm("go/probe", "sleep", "3600") }},
		{"Go net/http, asleep", func() (*bundle.Bundle, error) { return b.wasm("go/big", "sleep") }},
	}
	table := tabwriter.NewWriter(b.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "\nidle container\tPss MB\tof it anonymous MB\tPss of ten MB each\t")
	for _, s := range sleepers {
		made, err := s.make()
		if err != nil {
			return err
		}
		first, each, err := b.idle(made)
		if err != nil {
			return fmt.Errorf("%s: %w", s.title, err)
		}
		fmt.Fprintf(table, "%s\t%.2f\t%.2f\t%.2f\t\n", s.title, first["Pss"]/1024, first["Anonymous"]/1024, each/1024)
	}
	return table.Flush()
}

// idle starts ten containers and returns what the first holds alone, and what each holds
// beside the others, in kB.
func (b *bench) idle(made *bundle.Bundle) (alone map[string]float64, each float64, retErr error) {
	const many = 10
	var pids []int
	for i := range many {
		b.number++
		id := fmt.Sprint("idle", b.number)
		made.Spec.Linux.CgroupsPath = fmt.Sprintf("/runw-bench-%d-%s", os.Getpid(), id)
		if err := made.Write(); err != nil {
			return nil, 0, err
		}
		pid, err := b.detach(made, id)
		if err != nil {
			return nil, 0, err
		}
		defer func() {
			err := b.command("runw", "delete", "--force", id).Run()
			_, _ = unix.Wait4(pid, nil, 0, nil)
			retErr = errors.Join(retErr, err)
		}()
		pids = append(pids, pid)
		if i == 0 {
			if alone, err = rollup(pid); err != nil {
				return nil, 0, err
			}
		}
	}
	for _, pid := range pids {
		values, err := rollup(pid)
		if err != nil {
			return nil, 0, err
		}
		each += values["Pss"] / many
	}
	return alone, each, nil
}

func (b *bench) detach(made *bundle.Bundle, id string) (pid int, err error) {
	pidFile := filepath.Join(b.dir, id+".pid")
	output, err := os.OpenFile(filepath.Join(b.dir, id+".out"), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, err
	}
	defer output.Close()
	cmd := b.command("runw", "run", "--detach", "--bundle", made.Dir, "--pid-file", pidFile, id)
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(output.Name())
		return 0, fmt.Errorf("%w: %s", err, text)
	}
	content, err := os.ReadFile(pidFile)
	if err != nil {
		return 0, err
	}
	// Long enough for every guest to have fallen asleep.
	time.Sleep(700 * time.Millisecond)
	return strconv.Atoi(strings.TrimSpace(string(content)))
}

// rollup reads /proc/PID/smaps_rollup: kB by name.
func rollup(pid int) (map[string]float64, error) {
	file, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	values := map[string]float64{}
	for scanner := bufio.NewScanner(file); scanner.Scan(); {
		if fields := strings.Fields(scanner.Text()); len(fields) == 3 && fields[2] == "kB" {
			values[strings.TrimSuffix(fields[0], ":")], _ = strconv.ParseFloat(fields[1], 64)
		}
	}
	return values, nil
}

// calls runs the guest that measures its own host calls.
func (b *bench) calls() error {
	made, err := b.wasm("c/calls")
	if err != nil {
		return err
	}
	const rounds = 3
	least := map[string]float64{}
	var names []string
	for range rounds {
		b.number++
		cmd := b.command("runw", "run", "--bundle", made.Dir, fmt.Sprint("calls", b.number))
		var errs bytes.Buffer
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if err != nil {
			return fmt.Errorf("host calls: %w: %s", err, errs.String())
		}
		for line := range strings.Lines(string(out)) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
			ns, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return fmt.Errorf("host calls: %q: %w", line, err)
			}
			if old, ok := least[name]; !ok {
				names = append(names, name)
				least[name] = ns
			} else {
				least[name] = min(old, ns)
			}
		}
	}
	table := tabwriter.NewWriter(b.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(table, "\nhost call\tns, least of %d\t\n", rounds)
	for _, name := range names {
		fmt.Fprintf(table, "%s\t%.0f\t\n", name, least[name])
	}
	return table.Flush()
}
