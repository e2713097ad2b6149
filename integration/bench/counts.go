package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// counts prints what a start costs in page faults and context switches, which vary less than
// time on a busy machine.
func (b *bench) counts(rounds int) error {
	rows, err := b.natives()
	if err != nil {
		return err
	}
	for _, m := range modules {
		wasm, err := b.wasm(m.guest)
		if err != nil {
			return err
		}
		for _, engine := range b.engines {
			rows = append(rows, &row{title: m.title, runtime: "runw", engine: engine, bundle: wasm})
		}
	}
	for round := range rounds + 1 {
		for _, r := range rows {
			if err := b.start(r, round > 0); err != nil {
				return err
			}
		}
	}
	table := b.table()
	fmt.Fprintln(table, "\n`run`, medians\truntime\tengine\tpage faults\tcontext switches\t")
	for _, r := range rows {
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%d\t\n", r.title, r.runtime, r.engine, median(r.faults), median(r.switches))
	}
	empty, err := b.emptyProgram()
	if err != nil {
		return err
	}
	for _, p := range [][]string{{b.runtimes["runw"], "--version"}, {empty}} {
		var faults, switches []int
		for range rounds {
			cmd := exec.Command(p[0], p[1:]...)
			if err := cmd.Run(); err != nil {
				return err
			}
			f, s := usage(cmd)
			faults, switches = append(faults, f), append(switches, s)
		}
		name := "runw --version"
		if len(p) == 1 {
			name = "a Go program that does nothing"
		}
		fmt.Fprintf(table, "%s\t\t\t%d\t%d\t\n", name, median(faults), median(switches))
	}
	return table.Flush()
}

func (b *bench) emptyProgram() (string, error) {
	dir := filepath.Join(b.dir, "empty")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	for name, text := range map[string]string{"main.go": "package main\n\nfunc main() {}\n", "go.mod": "module empty\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return "", err
		}
	}
	cmd := exec.Command("go", "build", "-o", "empty", ".")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, out)
	}
	return filepath.Join(dir, "empty"), nil
}
