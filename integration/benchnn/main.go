// Benchnn measures inference by a module in a runw container beside a program that calls the
// same library itself, on the same model: tokens a second, the time to the first token, the
// latency of an ONNX model, and what a second container on the same model takes of memory.
// Rounds of both alternate; figures are medians of them, ratios medians of each round's ratio.
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
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/runw/runw/integration/bundle"
	"github.com/runw/runw/integration/guests"
	"github.com/runw/runw/integration/machine"
)

func main() {
	b := &bench{out: os.Stdout}
	flag.IntVar(&b.rounds, "rounds", 7, "measured rounds of each row")
	flag.IntVar(&b.threads, "threads", runtime.NumCPU(), "that the library computes with")
	flag.IntVar(&b.prompt, "prompt", 256, "tokens of the prompt")
	flag.IntVar(&b.tokens, "tokens", 64, "tokens to generate")
	only := flag.String("only", "", "one of language, classifier, memory")
	flag.Parse()
	if code, done := machine.Reexec(); done {
		os.Exit(code)
	}
	if err := b.run(*only); err != nil {
		fmt.Fprintln(os.Stderr, "benchnn:", err)
		os.Exit(1)
	}
}

type bench struct {
	out                             io.Writer
	rounds, threads, prompt, tokens int
	root, libs, dir, models, llm    string
	number                          int
}

func (b *bench) run(only string) (retErr error) {
	if os.Geteuid() != 0 {
		return errors.New("needs root")
	}
	var err error
	if b.root, err = guests.Root(); err != nil {
		return err
	}
	if b.libs, err = filepath.EvalSymlinks(filepath.Join(b.root, "build", "accel")); err != nil {
		return fmt.Errorf("%w: run `make accel-libs`", err)
	}
	if b.dir, err = os.MkdirTemp("", "runw-benchnn-"); err != nil {
		return err
	}
	undo, err := machine.Prepare(b.dir, false)
	if err != nil {
		return err
	}
	defer func() {
		undo()
		retErr = errors.Join(retErr, os.RemoveAll(b.dir))
	}()
	b.models = filepath.Join(b.dir, "models")
	b.llm = filepath.Join(b.models, "large.gguf")
	if err := os.Mkdir(b.models, 0o755); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"./pkg/accel/ggml/gguf/mkgguf", "-random", "-o", b.llm}, {"./pkg/accel/onnx/model/make", b.models},
	} {
		if err := b.command("go", append([]string{"run"}, args...)...); err != nil {
			return err
		}
	}
	for _, part := range []struct {
		name string
		run  func() error
	}{{"language", b.language}, {"classifier", b.classifier}, {"memory", b.memory}} {
		if only != "" && only != part.name {
			continue
		}
		if err := part.run(); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}

func (b *bench) command(name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Dir = b.root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", cmd, err, out)
	}
	return nil
}

// direct builds one of the programs that call a library themselves.
func (b *bench) direct(source string) (string, error) {
	path := filepath.Join(b.dir, strings.ReplaceAll(source, "/", "-")+".out")
	return path, b.command("cc", "-O2", "-o", path, source, "-ldl")
}

// container makes a bundle of a guest that sees the models.
func (b *bench) container(guest string, args ...string) (*bundle.Bundle, string, error) {
	module, err := guests.Build("c/" + guest)
	if err != nil {
		return nil, "", err
	}
	b.number++
	id := fmt.Sprintf("runw-benchnn-%d-%d", os.Getpid(), b.number)
	made, err := bundle.Wasm(filepath.Join(b.dir, "bundle-"+id), module, args...)
	if err != nil {
		return nil, "", err
	}
	made.Spec.Linux.CgroupsPath = "/" + id
	made.Spec.Mounts = append(made.Spec.Mounts, specs.Mount{
		Destination: "/models", Type: "bind", Source: b.models, Options: []string{"bind", "ro"},
	})
	preload := "WASMEDGE_WASINN_PRELOAD=llm:ggml:cpu:/models/large.gguf"
	for _, name := range []string{denseModel, imageModel} {
		preload += " " + name + ":onnx:cpu:/models/" + name
	}
	made.Spec.Process.Env = append(made.Spec.Process.Env, preload)
	return made, id, made.Write()
}

func (b *bench) runw(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(b.root, "bin", "runw"), append([]string{"--root", filepath.Join(b.dir, "state")}, args...)...)
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "RUNW_AOT_DIR=" + filepath.Join(b.dir, "aot"),
		"RUNW_ENGINE=" + os.Getenv("RUNW_ENGINE"), "RUNW_ACCEL_LIBS=" + filepath.Join(b.libs, "ggml") + ":" + filepath.Join(b.libs, "onnx"),
	}
	return cmd
}

// output runs a command that prints numbers.
func output(cmd *exec.Cmd) ([]float64, error) {
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s%s", cmd, err, out, errs.String())
	}
	var list []float64
	for _, field := range strings.Fields(string(out)) {
		v, err := strconv.ParseFloat(field, 64)
		if err != nil {
			return nil, fmt.Errorf("%s: %q", cmd, out)
		}
		list = append(list, v)
	}
	return list, nil
}

// alternate measures both in turns, after a round that warms up what is cached.
func (b *bench) alternate(sandboxed, direct func() ([]float64, error)) (pairs [][2][]float64, err error) {
	for i := range b.rounds + 1 {
		var pair [2][]float64
		for j, measure := range []func() ([]float64, error){sandboxed, direct} {
			if pair[j], err = measure(); err != nil {
				return nil, err
			}
		}
		if i > 0 {
			pairs = append(pairs, pair)
		}
	}
	return pairs, nil
}

// row prints medians of a figure and of its ratio; less is better.
func row(w io.Writer, name, unit string, pairs [][2][]float64, figure func([]float64) float64) {
	var a, d, ratio []float64
	for _, p := range pairs {
		x, y := figure(p[0]), figure(p[1])
		a, d, ratio = append(a, x), append(d, y), append(ratio, x/y)
	}
	fmt.Fprintf(w, "%s\t%.4g\t%.4g\t%s\t%.3f\n", name, median(a), median(d), unit, median(ratio))
}

func median(list []float64) float64 {
	list = slices.Sorted(slices.Values(list))
	return list[len(list)/2]
}

func (b *bench) language() error {
	direct, err := b.direct("integration/benchnn/testdata/direct.c")
	if err != nil {
		return err
	}
	libraries, err := filepath.Glob(filepath.Join(b.libs, "ggml", "libllama*.so"))
	if err != nil || len(libraries) != 1 {
		return fmt.Errorf("%d of libllama in %s, want one: %w", len(libraries), b.libs, err)
	}
	fmt.Fprintf(b.out, "language model, %d threads, medians of %d rounds\n", b.threads, b.rounds)
	w := tabwriter.NewWriter(b.out, 8, 1, 3, ' ', 0)
	fmt.Fprint(w, "\tin a container\tdirectly\t\tratio\n")
	for _, weights := range []struct {
		title  string
		repack bool
	}{{"shared", false}, {"repacked", true}} {
		pairs, err := b.texts(direct, libraries[0], weights.repack)
		if err != nil {
			return fmt.Errorf("weights %s: %w", weights.title, err)
		}
		title := ", weights " + weights.title
		row(w, "first token"+title, "s", pairs, func(v []float64) float64 { return v[0] })
		row(w, "prompt"+title, "tokens/s", pairs, func(v []float64) float64 { return float64(b.prompt) / v[0] })
		row(w, "generation"+title, "tokens/s", pairs, func(v []float64) float64 { return v[2] / v[1] })
	}
	return w.Flush()
}

// texts measures a text. Repacked weights are in the order that the processor computes best
// with (AMX takes no other), and a private copy of the model; the library's default is to
// repack, a container's is to share.
func (b *bench) texts(direct, library string, repack bool) ([][2][]float64, error) {
	context := b.prompt + b.tokens + 64
	metadata, err := json.Marshal(map[string]any{
		"ctx-size": context, "threads": b.threads, "threads-batch": b.threads, "temp": 0, "ignore-eos": true, "n-predict": b.tokens,
		"repack": repack,
	})
	if err != nil {
		return nil, err
	}
	prompt, tokens := strconv.Itoa(b.prompt), strconv.Itoa(b.tokens)
	made, id, err := b.container("inference", "measure", "llm", string(metadata), prompt, tokens)
	if err != nil {
		return nil, err
	}
	extra := map[bool]string{false: "0", true: "1"}[repack]
	return b.alternate(
		func() ([]float64, error) { return output(b.runw("run", "--bundle", made.Dir, id)) },
		func() ([]float64, error) {
			return output(exec.Command(direct, filepath.Dir(library), library, b.llm,
				strconv.Itoa(context), strconv.Itoa(b.threads), prompt, tokens, extra))
		})
}
