package main

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"
)

func TestOptionsFirst(t *testing.T) {
	app, _ := newApp("runw", io.Discard, io.Discard)
	cases := []struct{ in, want string }{
		{"runw", "runw"},
		{"runw --root update list", "runw --root update list"},
		{"runw --root=/r update c1 --memory 1m", "runw --root=/r update --memory 1m c1"},
		{"runw --debug update c1 --memory-swap -1 --cpuset-cpus 1", "runw --debug update --memory-swap -1 --cpuset-cpus 1 c1"},
		{"runw update -r - c1 --pids-limit=5", "runw update --resources - --pids-limit=5 c1"},
		{"runw delete c1 -f", "runw delete --force c1"},
		{"runw delete c1 -h", "runw delete --help c1"},
		{"runw delete c1 --nonsense", "runw delete --nonsense c1"},
		{"runw kill c1 -9", "runw kill c1 -9"},
		{"runw kill -a c1 KILL", "runw kill --all c1 KILL"},
		{"runw state a -- --b", "runw state -- a --b"},
		{"runw run c1 --bundle", "runw run --bundle c1"},
		{"runw exec -t c1 ls --cwd -t", "runw exec --tty c1 ls --cwd -t"},
		{"runw exec --env A=1 -e B=-e -e=C=2 -- c1 sh -e", "runw exec --env A=1 --env B=-e --env=C=2 -- c1 sh -e"},
		{"runw exec --nonsense c1 ls -e", "runw exec --nonsense c1 ls -e"},
		{"runw ps c1 --format json -q", "runw ps c1 --format json -q"},
		{"runw aot ls -q", "runw aot ls --quiet"},
		{"runw aot prune x --max-size 1m", "runw aot prune --max-size 1m x"},
		{"runw nonsense a --debug", "runw nonsense a --debug"},
	}
	for _, c := range cases {
		in := strings.Fields(c.in)
		got := optionsFirst(slices.Clone(in), app.Flags, app.Commands)
		if want := strings.Fields(c.want); !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", c.in, got, want)
		}
	}
}

// Whatever is typed, nothing is lost, and what is in order stays as it is.
func FuzzOptionsFirst(f *testing.F) {
	f.Add("runw --root /r update c1 --memory 1m -- x")
	f.Add("runw kill c1 -9")
	f.Add("runw exec -e A=1 c1 --env")
	f.Add("runw aot prune m --engine")
	app, _ := newApp("runw", io.Discard, io.Discard)
	f.Fuzz(func(t *testing.T, line string) {
		in := strings.Fields(line)
		once := optionsFirst(slices.Clone(in), app.Flags, app.Commands)
		twice := optionsFirst(slices.Clone(once), app.Flags, app.Commands)
		if len(once) != len(in) || !slices.Equal(once, twice) {
			t.Errorf("%q became %q, then %q", in, once, twice)
		}
	})
}

func TestProgramName(t *testing.T) {
	for _, c := range []struct{ arg0, first string }{
		{"/usr/sbin/runc", "runc version "},
		{"runc", "runc version "},
		{"/usr/local/sbin/runw", "runw version "},
		{"runc.old", "runw version "},
		{"", "runw version "},
	} {
		var out, errOut bytes.Buffer
		if code := run([]string{c.arg0, "--version"}, &out, &errOut); code != 0 {
			t.Fatalf("%q: exit code %d, %s", c.arg0, code, &errOut)
		}
		if !strings.HasPrefix(out.String(), c.first) {
			t.Errorf("%q: %q, want %q", c.arg0, out.String(), c.first)
		}
	}
}

func TestErrorsAsRunc(t *testing.T) {
	for command, want := range map[string]string{
		"run":   `container "c1": runc run failed: JSON specification file config.json not found`,
		"state": `container "c1": state: container does not exist`,
	} {
		var out, errOut bytes.Buffer
		t.Chdir(t.TempDir())
		code := run([]string{"/usr/bin/runc", "--root", t.TempDir(), command, "c1"}, &out, &errOut)
		if code != 1 || !strings.Contains(errOut.String(), want) {
			t.Errorf("%s: exit code %d, %q, want %q", command, code, &errOut, want)
		}
	}
}
