// Command vm runs the rows that need cgroup v2, systemd or rights that the machine may not
// have in the small machine of .ci/vm: for runw, and the native ones for Debian's runc.
//
//	integration.test, bin/runw, guests ──▶ /payload ──▶ init ─┬─ round "bare": no systemd
//	                                                          └─ round "systemd"
//
// Where does my row go? Into integration/, as any other, and its name into rounds below.
package main

import (
	"bufio"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/runw/runw/integration/guests"
)

//go:embed init
var initScript []byte

const (
	runw = "/payload/bin/runw"
	runc = "/usr/sbin/runc"
)

// round is one call of the tests: each of them has to pass, and none of runw's to be skipped.
type round struct {
	stage   string // bare or systemd
	runtime string
	tests   []string
}

// rounds keeps to what another kernel, hierarchy or right can change.
var rounds = []round{
	{"bare", runw, []string{
		"TestV2Limits", "TestV2Unified", "TestV2UnifiedRefused", "TestV2IOLimit", "TestV2Hugetlb", "TestV2CPUSet", "TestV2Freezer",
		"TestV2Devices", "TestV2Update", "TestV2ExecCgroup", "TestDelegatedCgroup", "TestDelegatedLimits",
		"TestMemoryLimit", "TestPidsLimit", "TestCPULimit", "TestEventsStats", "TestEventsWatch", "TestEventsWasm",
		"TestNetDevices",
	}},
	{"bare", runc, []string{
		"TestV2Limits", "TestV2IOLimit", "TestV2Hugetlb", "TestV2CPUSet", "TestV2Freezer", "TestV2Devices", "TestV2ExecCgroup", "TestDelegatedCgroup",
		"TestMemoryLimit", "TestPidsLimit", "TestCPULimit",
	}},
	{"systemd", runw, []string{"TestSystemdScope", "TestSystemdLimits", "TestSystemdRefusals", "TestSystemdUser"}},
	{"systemd", runc, []string{"TestSystemdScope", "TestSystemdLimits", "TestSystemdUser"}},
}

// modules are the guests that the tests above run.
var modules = []string{"c/probe"}

func main() {
	begin := time.Now()
	only := flag.String("run", "", "run the tests that match this pattern, as go test does; \"\" is all")
	flag.Parse()
	if err := run(*only); err != nil {
		fmt.Fprintln(os.Stderr, "vm:", err)
		os.Exit(1) // nothing is deferred here
	}
	fmt.Fprintf(os.Stderr, "vm: every test passed, in %v\n", time.Since(begin).Round(time.Second))
}

func run(only string) error {
	wanted, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	for i := range rounds {
		rounds[i].tests = slices.DeleteFunc(rounds[i].tests, func(name string) bool { return !wanted.MatchString(name) })
	}
	root, err := guests.Root()
	if err != nil {
		return err
	}
	payload, err := os.MkdirTemp("", "runw-vm-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(payload)
	if err := fill(root, payload); err != nil {
		return err
	}
	cmd := exec.Command(filepath.Join(root, ".ci", "vm"), "run", payload)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	verdict, err := watch(out, os.Stderr)
	// The machine has said more than its exit code does.
	return errors.Join(verdict.check(), err, cmd.Wait())
}

// fill puts together what the machine finds below /payload.
func fill(root, payload string) error {
	for _, dir := range []string{"bin", "guests", "integration"} {
		if err := os.Mkdir(filepath.Join(payload, dir), 0o755); err != nil {
			return err
		}
	}
	build := exec.Command("go", "test", "-c", "-o", filepath.Join(payload, "integration", "integration.test"), "./integration")
	build.Dir, build.Stderr, build.Env = root, os.Stderr, append(os.Environ(), "CGO_ENABLED=0")
	if err := build.Run(); err != nil {
		return fmt.Errorf("build the tests: %w", err)
	}
	if err := copyFile(filepath.Join(root, "bin", "runw"), filepath.Join(payload, "bin", "runw")); err != nil {
		return err
	}
	for _, name := range modules {
		path, err := guests.Build(name)
		if err != nil {
			return err
		}
		if err := copyFile(path, filepath.Join(payload, "guests", strings.ReplaceAll(name, "/", "-")+".wasm")); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(payload, "init"), initScript, 0o755); err != nil {
		return err
	}
	lines := map[string]string{"bare": "", "systemd": ""}
	for _, r := range rounds {
		if len(r.tests) == 0 {
			continue
		}
		lines[r.stage] += fmt.Sprintf("%s ^(%s)$\n", r.runtime, strings.Join(r.tests, "|"))
	}
	for stage, text := range lines {
		if err := os.WriteFile(filepath.Join(payload, stage), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o755)
}

// verdict is what the console said of each test, by "stage/runtime/test".
type verdict struct {
	word map[string]string
	up   bool
}

var (
	begins = regexp.MustCompile(`^VM-RUN (\S+) (\S+)`)
	ends   = regexp.MustCompile(`^\s*--- (PASS|FAIL|SKIP): (\S+)`)
)

// watch copies the console, from where the tests begin or the kernel has something to say.
func watch(console io.Reader, to io.Writer) (verdict, error) {
	v := verdict{word: map[string]string{}}
	stage := ""
	lines := bufio.NewScanner(console)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		v.up = v.up || strings.Contains(line, "VM-UP") // behind the firmware's escape sequences
		if m := begins.FindStringSubmatch(line); m != nil {
			stage = m[1] + "/" + m[2] + "/"
		}
		if m := ends.FindStringSubmatch(line); m != nil {
			v.word[stage+m[2]] = m[1]
		}
		if !strings.HasPrefix(line, "=== ") {
			fmt.Fprintln(to, line)
		}
	}
	return v, lines.Err()
}

// check wants each test of each round to have passed: one that was not run or not there
// must not look like success.
func (v verdict) check() error {
	if !v.up {
		return errors.New("the machine did not come up")
	}
	var bad []string
	for _, r := range rounds {
		for _, test := range r.tests {
			name := r.stage + "/" + filepath.Base(r.runtime) + "/" + test
			if word := v.word[name]; word != "PASS" {
				bad = append(bad, fmt.Sprintf("%s: %s", name, strings.TrimSpace(word+" ")))
			}
		}
	}
	// Of runw no part of a test may be left out either.
	for name, word := range v.word {
		if word == "SKIP" && strings.Contains(name, "/runw/") {
			bad = append(bad, name+": SKIP")
		}
	}
	if len(bad) == 0 {
		return nil
	}
	slices.Sort(bad)
	return fmt.Errorf("not passed:\n  %s", strings.Join(bad, "\n  "))
}
