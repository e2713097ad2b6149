package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// The files of models that onnx/model/make writes.
const denseModel, imageModel = "dense.onnx", "image.onnx"

// onnxCalls are what each round takes the median of.
const onnxCalls = "200"

// onnxRows are a call of a fraction of a millisecond, which shows what a call
// costs, one that also moves 64 kB each way, and one like those of models in use.
var onnxRows = []struct{ name, model, rows, width string }{
	{"8 layers of 512, 1 row", denseModel, "1", "512"},
	{"the same, 32 rows", denseModel, "32", "512"},
	{"an image, 224 by 224", imageModel, "1", "150528"},
}

func (b *bench) classifier() error {
	direct, err := b.direct("pkg/accel/onnx/testdata/direct.c")
	if err != nil {
		return err
	}
	library := filepath.Join(b.libs, "onnx", "libonnxruntime.so.1")
	fmt.Fprintf(b.out, "\nONNX, %d threads, medians of %d rounds of %s calls\n", runtime.NumCPU(), b.rounds, onnxCalls)
	w := tabwriter.NewWriter(b.out, 8, 1, 3, ' ', 0)
	fmt.Fprint(w, "\tin a container\tdirectly\t\tratio\n")
	for _, r := range onnxRows {
		made, id, err := b.container("onnx_probe", "time", r.model, r.rows, r.width, onnxCalls)
		if err != nil {
			return err
		}
		pairs, err := b.alternate(
			func() ([]float64, error) { return output(b.runw("run", "--bundle", made.Dir, id)) },
			func() ([]float64, error) {
				return output(exec.Command(direct, "time", library, filepath.Join(b.models, r.model), r.rows, r.width, onnxCalls, strconv.Itoa(runtime.NumCPU())))
			})
		if err != nil {
			return err
		}
		row(w, r.name, "µs", pairs, func(v []float64) float64 { return v[0] / 1000 })
	}
	return w.Flush()
}

// memory starts one container with the model loaded, and another.
func (b *bench) memory() (retErr error) {
	var sums []int
	for range 2 {
		made, id, err := b.container("inference", "idle", "llm")
		if err != nil {
			return err
		}
		log, err := os.OpenFile(filepath.Join(b.dir, id+".out"), os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return err
		}
		defer log.Close()
		run := b.runw("run", "--detach", "--bundle", made.Dir, id)
		run.Stdout, run.Stderr = log, log
		if err := run.Run(); err != nil {
			return fmt.Errorf("%s: %w", run, err)
		}
		defer func() {
			if err := b.runw("delete", "--force", id).Run(); err != nil && retErr == nil {
				retErr = err
			}
		}()
		if err := b.asleep(log.Name()); err != nil {
			return err
		}
		sum, err := b.pss()
		if err != nil {
			return err
		}
		sums = append(sums, sum)
	}
	info, err := os.Stat(b.llm)
	if err != nil {
		return err
	}
	fmt.Fprintf(b.out, "\nmemory (Pss) with a model of %d MB loaded: one container %d MB, two %d MB, ratio %.3f\n",
		info.Size()>>20, sums[0]>>20, sums[1]>>20, float64(sums[1])/float64(sums[0]))
	return nil
}

func (b *bench) asleep(log string) error {
	var text []byte
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		text, _ = os.ReadFile(log)
		if strings.Contains(string(text), "load: 0\nasleep") {
			return nil
		}
	}
	return fmt.Errorf("the guest has not loaded its model: %q", text)
}

// pss adds up the proportional memory of every process in this run's cgroups, in bytes.
func (b *bench) pss() (int, error) {
	sum := 0
	paths, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		return 0, err
	}
	for _, path := range paths {
		cgroup, _ := os.ReadFile(path)
		if !strings.Contains(string(cgroup), fmt.Sprintf("/runw-benchnn-%d-", os.Getpid())) {
			continue
		}
		rollup, err := os.ReadFile(filepath.Join(filepath.Dir(path), "smaps_rollup"))
		if err != nil {
			return 0, err
		}
		for line := range strings.Lines(string(rollup)) {
			if value, ok := strings.CutPrefix(line, "Pss:"); ok {
				n, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")))
				if err != nil {
					return 0, err
				}
				sum += n << 10
			}
		}
	}
	return sum, nil
}
