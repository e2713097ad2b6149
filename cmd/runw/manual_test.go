package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/runw/runw/cmd/runw/manual"
	"github.com/urfave/cli/v2"
)

// writeTestManual puts the pages and completions into a directory of the test's.
func writeTestManual(t *testing.T) (dir string, root *manual.Command) {
	t.Helper()
	t.Setenv("XDG_RUNTIME_DIR", "")
	app, _ := newApp("runw", io.Discard, io.Discard)
	dir, root = t.TempDir(), manual.New(app)
	if err := manual.Write(dir, "1.0", root); err != nil {
		t.Fatal(err)
	}
	return dir, root
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// Every command and flag that the application has, hidden ones apart, is in its page and in
// each completion. The application is walked here again: the generator could lose one.
func TestManualComplete(t *testing.T) {
	dir, root := writeTestManual(t)
	bash := readFile(t, filepath.Join(dir, "bash-completion", "completions", "runw"))
	zsh := readFile(t, filepath.Join(dir, "zsh", "site-functions", "_runw"))
	fish := readFile(t, filepath.Join(dir, "fish", "vendor_completions.d", "runw.fish"))
	pages, flags := 0, 0
	has := func(where, text, want string) {
		if !strings.Contains(text, want) {
			t.Errorf("%s lacks %q", where, want)
		}
	}
	var check func(path string, list []cli.Flag, commands []*cli.Command)
	check = func(path string, list []cli.Flag, commands []*cli.Command) {
		pages++
		page := strings.ReplaceAll(path, " ", "-") + ".8"
		text := readFile(t, filepath.Join(dir, "man", "man8", page))
		below := strings.TrimPrefix(strings.TrimPrefix(path, "runw"), " ")
		bashFlags := caseOf(t, bash, "_runw_flags", below)
		_, zshFunction, found := strings.Cut(zsh, "\n_"+strings.ReplaceAll(path, " ", "_")+"() {\n")
		if !found {
			t.Fatalf("zsh has no function for %q", path)
		}
		zshFunction, _, _ = strings.Cut(zshFunction, "\n}\n")
		for _, f := range list {
			if v, ok := f.(cli.VisibleFlag); ok && !v.IsVisible() {
				continue
			}
			for _, name := range f.Names() {
				flags++
				long := "--" + name
				fishFlag := " -l " + name + " "
				if len(name) == 1 {
					long, fishFlag = "-"+name, " -s "+name+" "
				}
				has(page, text, `\fB`+strings.ReplaceAll(long, "-", `\-`)+`\fR`)
				if !slices.Contains(bashFlags, long) {
					t.Errorf("bash: %q has no %s", path, long)
				}
				has("zsh "+path, zshFunction, long)
				if !slices.ContainsFunc(strings.Split(fish, "\n"), func(line string) bool {
					return strings.HasPrefix(line, "complete -c runw -n '__runw_at "+below+"' ") && strings.Contains(line, fishFlag)
				}) {
					t.Errorf("fish: %q has no %s", path, long)
				}
			}
		}
		for _, c := range commands {
			if c.Hidden {
				continue
			}
			has(page, text, `\fB`+strings.ReplaceAll(path+" "+c.Name, " ", `\-`)+`\fR(8)`)
			if !slices.Contains(caseOf(t, bash, "_runw_commands", below), c.Name) {
				t.Errorf("bash: %q has no %s", path, c.Name)
			}
			has("zsh "+path, zshFunction, "'"+c.Name+":")
			has("fish "+path, fish, "complete -c runw -n '__runw_at "+below+"' -f -a "+c.Name+" ")
			check(path+" "+c.Name, c.Flags, c.Subcommands)
		}
	}
	app, _ := newApp("runw", io.Discard, io.Discard)
	check("runw", app.Flags, app.Commands)
	if pages < 20 || flags < 100 {
		t.Errorf("%d pages and %d flags were looked at", pages, flags)
	}
	written, err := os.ReadDir(filepath.Join(dir, "man", "man8"))
	if err != nil || len(written) != pages {
		t.Errorf("%d pages for %d commands (%v)", len(written), pages, err)
	}
	root.Walk(func(c *manual.Command) {
		if c.Usage == "" || strings.Contains(c.Usage, "\n") {
			t.Errorf("%s: usage %q", c.Name(), c.Usage)
		}
	})
}

// caseOf finds the words of one case in one of the completion's functions.
func caseOf(t *testing.T, script, function, key string) []string {
	t.Helper()
	_, body, _ := strings.Cut(script, "\n"+function+"() {\n")
	body, _, _ = strings.Cut(body, "\n}\n")
	_, words, found := strings.Cut(body, `"`+key+`") echo "`)
	if !found {
		t.Fatalf("%s has no case %q", function, key)
	}
	words, _, _ = strings.Cut(words, `"`)
	return strings.Fields(words)
}

// tool skips where a program for the eyes of the test is not installed.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed: %v", name, err)
	}
	return path
}

// troff finds nothing to complain about.
func TestManualPages(t *testing.T) {
	groff := tool(t, "groff")
	dir, _ := writeTestManual(t)
	pages, err := filepath.Glob(filepath.Join(dir, "man", "man8", "*.8"))
	if err != nil || len(pages) == 0 {
		t.Fatal(pages, err)
	}
	out, err := exec.Command(groff, append([]string{"-man", "-ww", "-z", "-Tutf8"}, pages...)...).CombinedOutput()
	if err != nil || len(out) != 0 {
		t.Errorf("%v: %s", err, out)
	}
	out, err = exec.Command(groff, "-man", "-Tascii", "-P-cbou", filepath.Join(dir, "man", "man8", "runw-exec.8")).Output()
	if text := string(out); err != nil || !strings.Contains(text, "--ignore-paused") || !strings.Contains(text, "# runw exec <container-id> ps") {
		t.Errorf("runw-exec.8 as text: %v: %s", err, text)
	}
}

// bash completes from the script alone; a runw in PATH stands for the containers.
func TestBashCompletion(t *testing.T) {
	bash := tool(t, "bash")
	dir, _ := writeTestManual(t)
	fake := `runw() { [[ "$*" == *"list -q" ]] && echo one two "${2-}"; }` + "\n"
	script := readFile(t, filepath.Join(dir, "bash-completion", "completions", "runw"))
	rows := []struct {
		line string // the last word is being typed
		want string // what it may become, none for files
	}{
		{"runw che", "checkpoint"},
		{"runw re", "restore resume"},
		{"runw --deb", "--debug"},
		{"runw --root /x st", "start state"},
		{"runw --debug kill o", "one"},
		{"runw --root /x kill /", "/x"},
		{"runw --root = /x kill t", "two"},
		{"runw exec --ignore", "--ignore-paused"},
		{"runw exec -e A=1 o", "one"},
		{"runw exec one --ig", ""},
		{"runw aot p", "prune"},
		{"runw aot prune --max-a", "--max-age"},
		{"runw create --bundle /", ""},
		{"runw list x", ""},
	}
	for _, row := range rows {
		words := strings.Fields(row.line)
		test := fake + script + "\ncompopt() { :; }\nCOMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); _runw; echo \"${COMPREPLY[*]}\"\n"
		out, err := exec.Command(bash, append([]string{"--norc", "-u", "-c", test, "test"}, words...)...).CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != row.want {
			t.Errorf("%q completes to %q, want %q (%v)", row.line, got, row.want, err)
		}
	}
}

// The other two shells at least read their scripts, and fish completes with its own.
func TestOtherCompletions(t *testing.T) {
	dir, _ := writeTestManual(t)
	t.Run("zsh", func(t *testing.T) {
		out, err := exec.Command(tool(t, "zsh"), "-n", filepath.Join(dir, "zsh", "site-functions", "_runw")).CombinedOutput()
		if err != nil || len(out) != 0 {
			t.Errorf("%v: %s", err, out)
		}
	})
	t.Run("fish", func(t *testing.T) {
		fish := tool(t, "fish")
		script := "function runw; end; source " + filepath.Join(dir, "fish", "vendor_completions.d", "runw.fish") + "\n"
		for line, want := range map[string]string{
			"runw che": "checkpoint", "runw --root /x pau": "pause", "runw exec --ignore-p": "--ignore-paused", "runw aot pr": "prune",
		} {
			cmd := exec.Command(fish, "--no-config", "-c", script+"complete -C '"+line+"'")
			cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.HasPrefix(string(out), want+"\t") || strings.Count(string(out), "\n") != 1 {
				t.Errorf("%q completes to %q, want %q (%v)", line, out, want, err)
			}
		}
	})
}
