package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The guest shares a process with the engine, and must not find it: neither through /proc
// nor through a descriptor that it was not given.
func TestGuestDoesNotReachTheEngine(t *testing.T) {
	processes := []string{"self", "thread-self", "1", "1/task/1", "self/task/1"}
	files := []string{"mem", "exe", "environ", "maps", "fd", "fd/0", "fd/3", "fdinfo", "root", "root/app.wasm", "cwd", "map_files", "auxv", "syscall", "pagemap", "task"}
	args := []string{"try"}
	for _, process := range processes {
		for _, file := range files {
			args = append(args, "/proc/"+process+"/"+file)
		}
	}
	b := newBox(t, "c/probe", args...)
	res := b.run().ok()
	for line := range strings.Lines(res.stdout) {
		if !strings.HasPrefix(line, "refused ") {
			t.Error(strings.TrimSpace(line))
		}
	}
	if want := 4 * len(processes) * len(files); strings.Count(res.stdout, "\n") != want {
		t.Errorf("%d answers, want %d: %v", strings.Count(res.stdout, "\n"), want, res)
	}
}

// Nor by ways around the names: links, bind mounts of /proc, relative paths.
func TestGuestDoesNotReachTheEngineByDetours(t *testing.T) {
	b := newBox(t, "c/probe", "try", "/link/mem", "/link/environ", "/myproc/self/mem", "/myproc/1/environ", "/proc/../proc/self/mem",
		"proc/self/mem", "/./proc/./1/./mem", "/up/proc/self/mem", "/mem", "/dev/fd/3", "/dev/fd/9", "/dev/stdin/../mem")
	must(t, os.Symlink("/proc/self", b.Path("link")))
	must(t, os.Symlink("..", b.Path("up")))
	must(t, os.Symlink("/proc/1/mem", b.Path("mem")))
	b.bind("/proc", "/myproc", "rbind")
	res := b.run().ok()
	for line := range strings.Lines(res.stdout) {
		if !strings.HasPrefix(line, "refused ") {
			t.Error(strings.TrimSpace(line))
		}
	}
}

// The names that every container has for a program's streams are the guest's streams.
func TestGuestStreamsByName(t *testing.T) {
	for _, name := range []string{"/dev/stdin", "/dev/fd/0"} {
		t.Run(name, func(t *testing.T) {
			b := newBox(t, "c/probe", "read", name)
			b.stdin = "streamed"
			b.run().ok().says("streamed")
		})
	}
}

// What /proc says of the machine stays readable: programs count processors there.
func TestGuestReadsTheMachine(t *testing.T) {
	b := newBox(t, "c/probe", "read", "/proc/meminfo")
	b.run().ok().says("MemTotal")
}

func TestPreopens(t *testing.T) {
	rows := []struct {
		name, preopens string
		args           []string
		code           int
		says           []string
	}{
		{"by default everything", "", []string{"read", "/data/file"}, 0, []string{"of data"}},
		{"the one that is given", "/data", []string{"read", "/data/file"}, 0, []string{"of data"}},
		{"no other", "/data", []string{"read", "/other/file"}, 1, []string{"!of other"}},
		{"not by dots", "/data", []string{"read", "/data/../other/file"}, 1, []string{"!of other"}},
		{"not by a link", "/data", []string{"read", "/data/link"}, 1, []string{"!of other"}},
		{"not the root", "/data", []string{"ls", "/"}, 1, []string{"!other"}},
		{"read-only", "/data:ro", []string{"write", "/data/file", "changed"}, 1, []string{"!written"}},
		{"read-only is readable", "/data:ro", []string{"read", "/data/file"}, 0, []string{"of data"}},
		{"read-only removes nothing", "/data:ro", []string{"remove", "/data/file"}, 1, nil},
		{"under another name", "/in=/data", []string{"read", "/in/file"}, 0, []string{"of data"}},
		{"none", "none", []string{"read", "/data/file"}, 1, []string{"!of data"}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			b := newBox(t, "c/probe", row.args...)
			for _, name := range []string{"data", "other"} {
				must(t, os.WriteFile(filepath.Join(mkdir(t, b.Path(name)), "file"), []byte("of "+name), 0o644))
			}
			must(t, os.Symlink("../other/file", b.Path("data", "link")))
			if row.preopens != "" {
				b.Spec.Annotations = map[string]string{"run.runw.preopens": row.preopens}
			}
			b.run().exits(row.code).says(row.says...)
			if got, err := os.ReadFile(b.Path("data", "file")); err != nil || string(got) != "of data" {
				t.Errorf("the file now: %q, %v", got, err)
			}
		})
	}
}

// The directory of a preopen may come with a mount, so create cannot miss it; the engine does.
func TestPreopenMissing(t *testing.T) {
	b := newBox(t, "c/probe", "hello")
	b.Spec.Annotations = map[string]string{"run.runw.preopens": "/nonesuch"}
	if res := b.run().warns("/nonesuch"); res.code == 0 || res.stdout != "" {
		t.Errorf("ran without its directory: %v", res)
	}
}

// A rootfs that holds nothing but the module is all that a container needs, and is all
// that it sees.
func TestRootfsOfOneFile(t *testing.T) {
	b := newBox(t, "c/probe", "ls", "/")
	b.Spec.Mounts = b.Spec.Mounts[:1] // /proc, which libcontainer itself reads
	b.run().ok().says("app.wasm\n", "proc\n", "!runw", "!memfd")
}
