package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/runw/runw/integration/bundle"
	"golang.org/x/sys/unix"
)

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
	table := b.table()
	fmt.Fprintln(table, "\nidle container\tengine\tPss MB\tof it anonymous MB\tPss of ten MB each\t")
	for i, s := range sleepers {
		made, err := s.make()
		if err != nil {
			return err
		}
		engines := b.engines
		if i == 0 {
			engines = []string{"none"}
		}
		for _, engine := range engines {
			first, each, err := b.idle(made, engine)
			if err != nil {
				return fmt.Errorf("%s: %w", s.title, err)
			}
			fmt.Fprintf(table, "%s\t%s\t%.2f\t%.2f\t%.2f\t\n", s.title, engine, first["Pss"]/1024, first["Anonymous"]/1024, each/1024)
		}
	}
	return table.Flush()
}

// idle starts ten containers and returns what the first holds alone, and what each holds
// beside the others, in kB.
func (b *bench) idle(made *bundle.Bundle, engine string) (alone map[string]float64, each float64, retErr error) {
	const many = 10
	var pids []int
	for i := range many {
		b.number++
		id := fmt.Sprint("idle", b.number)
		made.Spec.Linux.CgroupsPath = fmt.Sprintf("/runw-bench-%d-%s", os.Getpid(), id)
		if err := made.Write(); err != nil {
			return nil, 0, err
		}
		pid, err := b.detach(made, engine, id)
		if err != nil {
			return nil, 0, err
		}
		defer func() {
			err := b.command("runw", "delete", "--force", id).Run()
			_, _ = unix.Wait4(pid, nil, 0, nil)
			retErr = errors.Join(retErr, err)
		}()
		pids = append(pids, pid)
		// Long enough for every guest to have fallen asleep.
		time.Sleep(700 * time.Millisecond)
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

// detach starts a container in the background and gives its process.
func (b *bench) detach(made *bundle.Bundle, engine, id string) (pid int, err error) {
	pidFile := filepath.Join(b.dir, id+".pid")
	output, err := os.OpenFile(filepath.Join(b.dir, id+".out"), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, err
	}
	defer output.Close()
	cmd := b.engine(engine, "run", "--detach", "--bundle", made.Dir, "--pid-file", pidFile, id)
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(output.Name())
		return 0, fmt.Errorf("%w: %s", err, text)
	}
	content, err := os.ReadFile(pidFile)
	if err != nil {
		return 0, err
	}
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
