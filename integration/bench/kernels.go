package main

import (
	"bytes"
	"fmt"
	"math"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/runw/runw/integration/guests"
)

const gcc = "gcc -O2"

// kernel is one of the programs in guests/c/kernels.c.
type kernel struct {
	name, result string
	least        map[string]float64 // nanoseconds, by gcc or engine
}

// kernels runs one C source natively, by gcc -O2, and as a module on each engine, in turn.
func (b *bench) kernels(rounds int) error {
	root, err := guests.Root()
	if err != nil {
		return err
	}
	native := filepath.Join(b.dir, "kernels")
	source := filepath.Join(root, "integration", "guests", "c", "kernels.c")
	if out, err := exec.Command("gcc", "-O2", "-ffp-contract=off", "-o", native, source).CombinedOutput(); err != nil {
		return fmt.Errorf("gcc: %w: %s", err, out)
	}
	const inner = "3" // runs of each kernel within one of the program
	made, err := b.wasm("c/kernels", inner)
	if err != nil {
		return err
	}
	var all []*kernel
	for range rounds {
		if all, err = measure(exec.Command(native, inner), gcc, all); err != nil {
			return err
		}
		for _, engine := range b.engines {
			b.number++
			cmd := b.engine(engine, "run", "--bundle", made.Dir, fmt.Sprint("kernels", b.number))
			if all, err = measure(cmd, engine, all); err != nil {
				return err
			}
		}
	}
	table := b.table()
	fmt.Fprintf(table, "\nC kernel, least of %d\t%s ms\t%s\t\n", rounds, gcc, strings.Join(b.engines, "\t"))
	logs := make([]float64, len(b.engines))
	for _, k := range all {
		fmt.Fprintf(table, "%s\t%.2f\t", k.name, k.least[gcc]/1e6)
		for i, engine := range b.engines {
			ratio := k.least[engine] / k.least[gcc]
			logs[i] += math.Log(ratio)
			fmt.Fprintf(table, "%.2f\t", ratio)
		}
		fmt.Fprintln(table)
	}
	fmt.Fprint(table, "geometric mean\t\t")
	for _, l := range logs {
		fmt.Fprintf(table, "%.3f\t", math.Exp(l/float64(len(all))))
	}
	fmt.Fprintln(table)
	return table.Flush()
}

// measure runs the program once and keeps each kernel's least time. Every result must be the
// one that the first program had.
func measure(cmd *exec.Cmd, who string, all []*kernel) ([]*kernel, error) {
	var failed bytes.Buffer
	cmd.Stderr = &failed
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", who, err, failed.String())
	}
	for line := range strings.Lines(string(out)) {
		var name, result string
		var ns float64
		if _, err := fmt.Sscan(line, &name, &ns, &result); err != nil {
			return nil, fmt.Errorf("%s: %q: %w", who, line, err)
		}
		at := slices.IndexFunc(all, func(k *kernel) bool { return k.name == name })
		if at < 0 {
			at = len(all)
			all = append(all, &kernel{name, result, map[string]float64{}})
		}
		k := all[at]
		if k.result != result {
			return nil, fmt.Errorf("%s: %s gives %s, before it was %s", who, name, result, k.result)
		}
		if old, ok := k.least[who]; !ok || ns < old {
			k.least[who] = ns
		}
	}
	return all, nil
}
