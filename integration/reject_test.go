package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// refusal is a bundle that must not become a container, and what has to be said.
type refusal struct {
	name  string
	guest string
	spoil func(*testing.T, *box)
	says  []string
}

func content(text string) func(*testing.T, *box) {
	return func(t *testing.T, b *box) { must(t, os.WriteFile(b.Path("app.wasm"), []byte(text), 0o644)) }
}

func annotate(key, value string) func(*testing.T, *box) {
	return func(_ *testing.T, b *box) { b.Spec.Annotations = map[string]string{key: value} }
}

var refusals = []refusal{
	{"corrupt module", "c/probe", func(t *testing.T, b *box) {
		module, err := os.ReadFile(b.Path("app.wasm"))
		must(t, err)
		for i := 100; i < 400; i++ {
			module[i] ^= 0x5a
		}
		must(t, os.WriteFile(b.Path("app.wasm"), module, 0o644))
	}, []string{"app.wasm"}},
	{"truncated module", "c/probe", func(t *testing.T, b *box) {
		info, err := os.Stat(b.Path("app.wasm"))
		must(t, err)
		must(t, os.Truncate(b.Path("app.wasm"), info.Size()/2))
	}, []string{"app.wasm"}},
	{"magic and nothing more", "c/probe", content("\x00asm"), []string{"app.wasm"}},
	{"unknown version", "c/probe", content("\x00asm\x07\x00\x00\x00"), []string{"app.wasm"}},
	{"component", "c/probe", content("\x00asm\x0d\x00\x01\x00"), []string{"app.wasm", "component"}},
	{"imports env.foo", "wat/env-foo", nil, []string{"app.wasm", "env", "foo"}},
	{"no _start", "wat/no-start", nil, []string{"app.wasm", "_start"}},
	{"handler for no module", "busybox", annotate("run.oci.handler", "wasm"), []string{"sh"}},
	{"unknown handler", "busybox", annotate("run.oci.handler", "krun"), []string{"run.oci.handler", "krun"}},
	{"unknown handler of a module", "c/probe", annotate("run.oci.handler", "nonesuch"), []string{"run.oci.handler", "nonesuch"}},
	{"bad preopens", "c/probe", annotate("run.runw.preopens", "../up"), []string{"run.runw.preopens"}},
	{"args missing", "c/probe", func(_ *testing.T, b *box) { b.Spec.Process.Args = nil }, []string{"process.args"}},
	{"cwd is relative", "c/probe", func(_ *testing.T, b *box) { b.Spec.Process.Cwd = "here" }, []string{"cwd"}},
	{"rootfs missing", "c/probe", func(t *testing.T, b *box) { b.Spec.Root.Path = "nonesuch" }, []string{"nonesuch"}},
	{"entrypoint is a directory", "c/probe", func(t *testing.T, b *box) {
		must(t, os.Remove(b.Path("app.wasm")))
		mkdir(t, b.Path("app.wasm"))
	}, []string{"app.wasm"}},
	{"entrypoint is a link out of the rootfs", "c/probe", func(t *testing.T, b *box) {
		must(t, os.Rename(b.Path("app.wasm"), filepath.Join(b.dir, "outside.wasm")))
		must(t, os.Symlink(filepath.Join(b.dir, "outside.wasm"), b.Path("app.wasm")))
	}, []string{"app.wasm"}},
	{"entrypoint is a loop", "c/probe", func(t *testing.T, b *box) {
		must(t, os.Remove(b.Path("app.wasm")))
		must(t, os.Symlink("app.wasm", b.Path("app.wasm")))
	}, []string{"app.wasm"}},
	{"namespace that is not there", "c/probe", func(_ *testing.T, b *box) { b.join(specs.NetworkNamespace, "/nonesuch") }, []string{"nonesuch"}},
	{"mount that fails", "c/probe", func(_ *testing.T, b *box) { b.bind("/nonesuch", "/volume") }, []string{"nonesuch"}},
}

// A container manager shows a person the line on stderr, or the last error of --log.
func TestRefusals(t *testing.T) {
	needRunw(t)
	for _, row := range refusals {
		for _, format := range []string{"text", "json"} {
			t.Run(row.name+"/"+format, func(t *testing.T) {
				b := newBox(t, row.guest, "sh")
				if row.spoil != nil {
					row.spoil(t, b)
				}
				b.global = []string{"--log", filepath.Join(b.dir, "log"), "--log-format", format}
				res := b.create()
				if res.code != 1 {
					t.Fatalf("want exit 1: %v", res)
				}
				if lines := strings.Count(res.stderr, "\n"); lines != 1 || !strings.HasSuffix(res.stderr, "\n") {
					t.Errorf("want one line on stderr: %v", res)
				}
				res.warns(row.says...)
				res.warns("!panic", "!goroutine")
				if res.stdout != "" {
					t.Errorf("want no stdout: %v", res)
				}
				checkLog(t, b.output("log"), format, row.says)
			})
		}
	}
}

func checkLog(t *testing.T, log, format string, says []string) {
	t.Helper()
	var errors []string
	for line := range strings.Lines(log) {
		var entry struct{ Level, Msg string }
		switch {
		case format == "json":
			if err := json.Unmarshal([]byte(line), &entry); err != nil {
				t.Errorf("log line %q: %v", line, err)
			}
		case strings.Contains(line, "level=error"):
			entry.Level, entry.Msg = "error", line
		}
		if entry.Level == "error" {
			errors = append(errors, entry.Msg)
		}
	}
	if len(errors) != 1 {
		t.Fatalf("%d errors in the log, want one: %s", len(errors), log)
	}
	for _, text := range says {
		if !strings.Contains(errors[0], text) {
			t.Errorf("log lacks %q: %s", text, errors[0])
		}
	}
}

// The texts by which podman chooses 127 and 126.
func TestNotRunnable(t *testing.T) {
	rows := []struct {
		name, command string
		mode          os.FileMode
		says          []string
	}{
		{"not found in PATH", "nonesuch", 0, []string{"executable file not found in $PATH", "executable file `nonesuch` not found in $PATH"}},
		{"no such file", "/bin/nonesuch", 0, []string{"no such file or directory", "No such file or directory"}},
		{"not executable", "/bin/plain", 0o644, []string{"permission denied", "Permission denied"}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			b := newBox(t, "busybox", row.command)
			if row.mode != 0 {
				must(t, os.WriteFile(b.Path("bin", "plain"), []byte("#!/bin/sh\n"), row.mode))
			}
			res := b.create()
			if res.code == 0 || !strings.Contains(res.stderr, row.says[0]) && !strings.Contains(res.stderr, row.says[1]) {
				t.Errorf("want a failure that says %q: %v", row.says[0], res)
			}
		})
	}
}

// Opening a fifo to look at its first bytes would wait for a writer for ever.
func TestEntrypointIsFifo(t *testing.T) {
	b := newBox(t, "busybox", "/fifo")
	must(t, unix.Mkfifo(b.Path("fifo"), 0o755))
	if res := b.run(); res.code == 0 {
		t.Errorf("ran: %v", res)
	}
}

// A config.json that is not one names what is wrong with it.
func TestConfigRefusals(t *testing.T) {
	needRunw(t)
	rows := []struct {
		name, config string
		says         []string
	}{
		{"not JSON", "{", []string{"config.json"}},
		{"wrong type", `{"ociVersion":"1.0.2","process":{"args":"sh"}}`, []string{"args"}},
		{"empty object", `{}`, []string{"process"}},
		{"missing", "", []string{"config.json"}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			b := newBox(t, "busybox", "true")
			dir := mkdir(t, filepath.Join(b.dir, "spoiled"))
			if row.config != "" {
				must(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte(row.config), 0o644))
			}
			res := b.quiet("create", "--bundle", dir, b.id).exits(1)
			res.warns(row.says...)
			if strings.Count(res.stderr, "\n") != 1 {
				t.Errorf("want one line: %v", res)
			}
		})
	}
}
