package main

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// calls runs the guest that measures its own host calls.
func (b *bench) calls() error {
	made, err := b.wasm("c/calls")
	if err != nil {
		return err
	}
	const rounds = 3
	least := map[string]map[string]float64{} // by name, then engine
	var names []string
	for i := range rounds * len(b.engines) {
		engine := b.engines[i%len(b.engines)]
		b.number++
		cmd := b.engine(engine, "run", "--bundle", made.Dir, fmt.Sprint("calls", b.number))
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
			if least[name] == nil {
				names = append(names, name)
				least[name] = map[string]float64{}
			}
			if old, ok := least[name][engine]; !ok || ns < old {
				least[name][engine] = ns
			}
		}
	}
	table := b.table()
	fmt.Fprintf(table, "\nhost call, least ns of %d\t%s\t\n", rounds, strings.Join(b.engines, "\t"))
	for _, name := range names {
		fmt.Fprintf(table, "%s\t", name)
		for _, engine := range b.engines {
			fmt.Fprintf(table, "%.0f\t", least[name][engine])
		}
		fmt.Fprintln(table)
	}
	return table.Flush()
}
