package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// runCLI calls the whole command line in this process, with its own state
// directory.
func runCLI(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	t.Cleanup(func() {
		logrus.SetOutput(os.Stderr)
		logrus.SetLevel(logrus.InfoLevel)
		logrus.SetFormatter(new(logrus.TextFormatter))
	})
	t.Setenv("RUNW_AOT_DIR", "")
	var out, errOut bytes.Buffer
	all := append([]string{"runw", "--root", filepath.Join(t.TempDir(), "root")}, args...)
	code = run(all, &out, &errOut)
	return code, out.String(), errOut.String()
}

func TestHelp(t *testing.T) {
	// The default of --root depends on who asks.
	t.Setenv("XDG_RUNTIME_DIR", "")
	commands := []string{"", "accel", "accel list", "aot", "aot compile", "aot ls", "aot prune", "aot verify", "checkpoint", "create", "delete", "events", "exec", "features", "kill", "list", "pause", "ps", "restore", "resume", "run", "spec", "start", "state", "update"}
	for _, name := range commands {
		t.Run("runw "+name, func(t *testing.T) {
			args := append(append([]string{"runw"}, strings.Fields(name)...), "--help")
			var out, errOut bytes.Buffer
			if code := run(args, &out, &errOut); code != 0 || errOut.Len() != 0 {
				t.Fatalf("exit code %d, stderr %q", code, errOut.String())
			}
			golden(t, filepath.Join("testdata", "help", strings.TrimSpace("runw "+name)+".txt"), out.Bytes())
		})
	}
}

func TestHelpCommand(t *testing.T) {
	for _, name := range []string{"run", "update"} {
		_, want, _ := runCLI(t, name, "--help")
		code, got, stderr := runCLI(t, "help", name)
		if code != 0 || got == "" || got != want {
			t.Errorf("help %s: exit code %d, %q, %s", name, code, got, stderr)
		}
	}
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("differs from %s (go test -update rewrites it):\n%s", path, got)
	}
}

func TestErrors(t *testing.T) {
	empty, aotDir, shared := t.TempDir(), filepath.Join(t.TempDir(), "aot"), t.TempDir()
	if err := os.Chmod(shared, 0o777); err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name string
		args []string
		want string
	}{
		{"no id", []string{"create"}, `"create" requires exactly 1 argument(s) (see 'runw create --help')`},
		{"too many", []string{"state", "a", "b"}, `"state" requires exactly 1 argument(s)`},
		{"kill too many", []string{"kill", "a", "TERM", "x"}, `"kill" requires a maximum of 2 argument(s)`},
		{"unknown flag", []string{"run", "--nonsense", "c1"}, "flag provided but not defined: -nonsense (see 'runw run --help')"},
		{"unknown command", []string{"nonsense", "-h"}, "unknown command: No help topic for 'nonsense' (see 'runw --help')"},
		{"unknown topic", []string{"help", "nonsense"}, "No help topic for 'nonsense'"},
		{"no config.json", []string{"create", "--bundle", empty, "c1"}, `container "c1": create: JSON specification file config.json not found`},
		{"no bundle", []string{"run", "--bundle", filepath.Join(empty, "absent"), "c1"}, `container "c1": run: `},
		{"no container", []string{"state", "c1"}, `container "c1": state: container does not exist`},
		{"empty id", []string{"start", ""}, "container id cannot be empty"},
		{"signal", []string{"kill", "c1", "NONSENSE"}, `container "c1": kill: unknown signal "NONSENSE"`},
		{"list format", []string{"--root", empty, "list", "--format", "xml"}, "list: invalid format option"},
		{"list nothing", []string{"list"}, "root: no such file or directory"},
		{"exec no id", []string{"exec"}, `"exec" requires a minimum of 1 argument(s) (see 'runw exec --help')`},
		{"exec unknown flag", []string{"exec", "--nonsense", "c1", "true"}, "flag provided but not defined: -nonsense (see 'runw exec --help')"},
		{"pause no id", []string{"pause"}, `"pause" requires exactly 1 argument(s)`},
		{"pause nothing", []string{"pause", "c1"}, `container "c1": pause: container does not exist`},
		{"resume nothing", []string{"resume", "c1"}, `container "c1": resume: container does not exist`},
		{"ps no id", []string{"ps"}, `"ps" requires a minimum of 1 argument(s) (see 'runw ps --help')`},
		{"ps nothing", []string{"ps", "c1"}, `container "c1": ps: container does not exist`},
		{"update no id", []string{"update"}, `"update" requires exactly 1 argument(s)`},
		{"update nothing", []string{"update", "c1"}, `container "c1": update: container does not exist`},
		{"update size", []string{"update", "--memory", "1x", "c1"}, `container "c1": update: invalid value for memory: invalid size: "1x"`},
		{"update number", []string{"update", "--cpu-period", "-1", "c1"}, "invalid value for cpu-period: "},
		{"update weight", []string{"update", "--blkio-weight", "65546", "c1"}, "invalid value for blkio-weight: "},
		{"update no file", []string{"update", "--resources", filepath.Join(empty, "absent"), "c1"}, "no such file or directory"},
		{"events no id", []string{"events"}, `"events" requires exactly 1 argument(s)`},
		{"events nothing", []string{"events", "--stats", "c1"}, `container "c1": events: container does not exist`},
		{"events interval", []string{"events", "--interval", "0s", "c1"}, "duration interval must be greater than 0"},
		{"checkpoint no id", []string{"checkpoint"}, `"checkpoint" requires exactly 1 argument(s)`},
		{"checkpoint nothing", []string{"checkpoint", "c1"}, `container "c1": checkpoint: container does not exist`},
		{"checkpoint namespace", []string{"checkpoint", "--empty-ns", "uts", "c1"}, `namespace "uts" is not supported`},
		{"checkpoint page server", []string{"checkpoint", "--page-server", "1.2.3.4", "c1"}, "use --page-server ADDRESS:PORT"},
		{"checkpoint page port", []string{"checkpoint", "--page-server", "h:x", "c1"}, `--page-server: invalid port number "x"`},
		{"checkpoint criu", []string{"--criu", "/bin/true", "checkpoint", "c1"}, "the program must be called criu"},
		{"restore no id", []string{"restore"}, `"restore" requires exactly 1 argument(s)`},
		{"restore no bundle", []string{"restore", "--bundle", empty, "c1"}, `container "c1": restore: JSON specification file config.json not found`},
		{"preserve-fds", []string{"create", "--preserve-fds", "-1", "c1"}, "--preserve-fds must not be negative"},
		{"aot nothing", []string{"aot", "nonsense"}, `unknown command "nonsense" (see 'runw aot --help')`},
		{"aot flag", []string{"aot", "ls", "--nonsense"}, "flag provided but not defined: -nonsense (see 'runw aot ls --help')"},
		{"aot ls format", []string{"--aot-dir", aotDir, "aot", "ls", "--format", "xml"}, "aot ls: invalid format option"},
		{"aot no module", []string{"aot", "compile"}, `"compile" requires a minimum of 1 argument(s) (see 'runw aot compile --help')`},
		{"aot no file", []string{"--aot-dir", aotDir, "aot", "compile", filepath.Join(empty, "absent")}, "aot compile: 1 of 1 modules were not compiled"},
		{"aot max-size", []string{"--aot-max-size", "-5", "aot", "ls"}, `--aot-max-size: invalid size: "-5"`},
		{"aot prune size", []string{"--aot-dir", aotDir, "aot", "prune", "--max-size", "1x"}, `aot prune: --max-size: invalid size: "1x"`},
		{"aot prune age", []string{"--aot-dir", aotDir, "aot", "prune", "--max-age", "7w"}, `aot prune: --max-age: invalid duration: "7w"`},
		{"aot unsafe", []string{"--aot-dir", shared, "aot", "verify"}, "refusing an unsafe artifact store"},
		{"log format", []string{"--log-format", "xml", "list"}, "invalid log-format: xml"},
		{"rootless", []string{"--rootless", "maybe", "list"}, `--rootless: invalid value "maybe"`},
		{"root", []string{"--root", "/", "list"}, "--root argument should not be set to /"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			log := filepath.Join(t.TempDir(), "log")
			code, _, stderr := runCLI(t, append([]string{"--log", log}, c.args...)...)
			if code != 1 {
				t.Errorf("exit code %d", code)
			}
			if !strings.HasPrefix(stderr, "runw: ") || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, c.want) {
				t.Errorf("stderr is %q, want one line with %q", stderr, c.want)
			}
			logged, err := os.ReadFile(log)
			if err != nil && c.name != "log format" {
				t.Fatal(err)
			}
			if n := bytes.Count(logged, []byte("level=error")); n != 1 && c.name != "log format" {
				t.Errorf("%d error lines in the log: %s", n, logged)
			}
		})
	}
}

// A FIFO as the log is opened without waiting for its reader, and written to if it has one.
func TestLogFIFO(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := runCLI(t, "--log", fifo, "list"); code != 1 || !strings.Contains(stderr, "that nobody reads") {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
	reader, err := os.OpenFile(fifo, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if code, _, _ := runCLI(t, "--log", fifo, "state", "c1"); code != 1 {
		t.Errorf("exit code %d", code)
	}
	var buf [512]byte
	if n, err := reader.Read(buf[:]); err != nil || !strings.Contains(string(buf[:n]), "level=error") {
		t.Errorf("the reader got %q, %v", buf[:n], err)
	}
}

func TestSpecNeverOverwrites(t *testing.T) {
	dir := t.TempDir()
	if code, _, stderr := runCLI(t, "spec", "--bundle", dir); code != 0 {
		t.Fatal(stderr)
	}
	before, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	code, _, stderr := runCLI(t, "spec", "--bundle", dir, "--wasm", "/a.wasm")
	if code != 1 || !strings.Contains(stderr, "exists. Remove it first") {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
	after, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("config.json was changed (%v)", err)
	}
}

func TestParseSignal(t *testing.T) {
	for in, want := range map[string]int{"": 15, "9": 9, "TERM": 15, "sigkill": 9, "SIGHUP": 1, "usr1": 10, "0": 0} {
		got, err := parseSignal(in)
		if err != nil || int(got) != want {
			t.Errorf("%q: %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"nope", "SIG", "TERM "} {
		if got, err := parseSignal(in); err == nil {
			t.Errorf("%q gave %d", in, got)
		}
	}
}
