package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/runw/runw/integration/bundle"
	"github.com/runw/runw/integration/guests"
)

// modules are small, usual and big.
var modules = []struct{ guest, title string }{
	{"wat/tiny", "96-byte module"},
	{"go/hello", "Go hello"},
	{"go/big", "Go net/http + encoding/json"},
}

// row is one thing that is started again and again.
type row struct {
	title, runtime, engine string
	bundle                 *bundle.Bundle
	cold                   bool
	took, first            []time.Duration // to the end, to the first output
	faults, switches       []int
}

func (b *bench) starts(rounds int) error {
	rows, err := b.rows()
	if err != nil {
		return err
	}
	const warmUp = 1 // fills the store and the page cache
	for round := range warmUp + rounds {
		// Each row follows another one each time: the kernel is still busy with
		// what the last container left behind.
		for _, i := range rand.Perm(len(rows)) {
			r := rows[i]
			if r.cold && round > max(3, rounds/4) {
				continue
			}
			if err := b.start(r, round >= warmUp); err != nil {
				return err
			}
		}
	}
	native := func(runtime string) float64 {
		return ms(median(rows[slices.IndexFunc(rows, func(r *row) bool { return r.runtime == runtime })].took))
	}
	runc, crun := native("runc"), native("crun")
	table := b.table()
	fmt.Fprintln(table, "\n`run` to its end\truntime\tengine\tmedian ms\tleast ms\tof runc's native\tof crun's native\tto first output, median ms\t")
	for _, r := range rows {
		took := ms(median(r.took))
		fmt.Fprintf(table, "%s\t%s\t%s\t%.1f\t%.1f\t%.2f\t%.2f\t%.1f\t\n", r.title, r.runtime, r.engine, took, ms(slices.Min(r.took)),
			took/runc, took/crun, ms(median(r.first)))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, engine := range b.engines {
		warm := func(i int) time.Duration {
			return median(rows[slices.IndexFunc(rows, func(r *row) bool { return r.engine == engine && r.title == modules[i].title+", warm" })].first)
		}
		fmt.Fprintf(b.out, "%s: first output of the big module %.1f ms after that of the 96-byte one\n", engine, ms(warm(2)-warm(0)))
	}
	return nil
}

func (b *bench) rows() ([]*row, error) {
	rows, err := b.natives()
	if err != nil {
		return nil, err
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
			for _, engine := range b.engines {
				rows = append(rows, &row{title: title, runtime: "runw", engine: engine, bundle: wasm, cold: cold})
			}
		}
	}
	return rows, nil
}

func (b *bench) natives() (rows []*row, err error) {
	native, err := b.native("true")
	for _, name := range []string{"runw", "runc", "crun"} {
		rows = append(rows, &row{title: "/bin/true", runtime: name, bundle: native})
	}
	return rows, err
}

// start runs a row once. A program without output has its first one when it ends.
func (b *bench) start(r *row, measure bool) error {
	if r.cold {
		if err := os.RemoveAll(filepath.Join(b.dir, "aot-cold")); err != nil {
			return err
		}
	}
	b.number++
	args := []string{"run", "--bundle", r.bundle.Dir, fmt.Sprint("bench", b.number)}
	cmd := b.command(r.runtime, args...)
	if r.engine != "" {
		cmd = b.engine(r.engine, args...)
	}
	if r.cold {
		cmd.Env = append(cmd.Env, "RUNW_AOT_DIR="+filepath.Join(b.dir, "aot-cold"))
	}
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	var failed bytes.Buffer
	cmd.Stdout, cmd.Stderr = write, &failed
	begin := time.Now()
	err = cmd.Start()
	write.Close()
	if err != nil {
		return err
	}
	_, readErr := read.Read(make([]byte, 1))
	first := time.Since(begin)
	_, copyErr := io.Copy(io.Discard, read)
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%s, %s: %w: %s", r.runtime, r.title, err, failed.String())
	}
	took := time.Since(begin)
	if readErr != nil && !errors.Is(readErr, io.EOF) || copyErr != nil {
		return errors.Join(readErr, copyErr)
	}
	if measure {
		faults, switches := usage(cmd)
		r.took, r.first = append(r.took, took), append(r.first, first)
		r.faults, r.switches = append(r.faults, faults), append(r.switches, switches)
	}
	return nil
}

// usage counts page faults and context switches of an ended process and of all that it waited
// for (getrusage(2)).
func usage(cmd *exec.Cmd) (faults, switches int) {
	u := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return int(u.Minflt + u.Majflt), int(u.Nvcsw + u.Nivcsw)
}

// compiles measures the compiler alone: what a first start adds.
func (b *bench) compiles() error {
	table := b.table()
	fmt.Fprintln(table, "\ncompile into an empty store\tengine\tmedian ms\tpeak resident MB\t")
	const rounds = 3
	for _, m := range modules {
		module, err := guests.Build(m.guest)
		if err != nil {
			return err
		}
		for _, engine := range b.engines {
			var took []time.Duration
			peak := int64(0)
			for range rounds {
				if err := os.RemoveAll(filepath.Join(b.dir, "aot-cold")); err != nil {
					return err
				}
				cmd := b.engine(engine, "aot", "compile", module)
				cmd.Env = append(cmd.Env, "RUNW_AOT_DIR="+filepath.Join(b.dir, "aot-cold"))
				begin := time.Now()
				if out, err := cmd.CombinedOutput(); err != nil {
					return fmt.Errorf("aot compile: %w: %s", err, out)
				}
				took = append(took, time.Since(begin))
				peak = max(peak, cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)
			}
			fmt.Fprintf(table, "%s\t%s\t%.0f\t%.0f\t\n", m.title, engine, ms(median(took)), float64(peak)/1024)
		}
	}
	return table.Flush()
}
