package integration

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Kubernetes' exec probes and `kubectl exec` on a Wasm pod: a native program that the image
// brings along.
func TestExecNativeInModule(t *testing.T) {
	b := host(t, "c/probe", addBusybox)
	b.exec("busybox", "sh", "-c", "echo from $0; exit 9", "busybox").exits(9).says("from busybox\n")
	b.exec("busybox", "cat").ok().says("from stdin\n")
	// The module is pid 1 of the namespace that the program joins.
	b.exec("busybox", "sh", "-c", "tr '\\0' ' ' </proc/1/cmdline").ok().says("/app.wasm sleep 3600")
	b.end()
}

// An image that holds nothing but its module has nothing to execute, and says so.
func TestExecFromScratch(t *testing.T) {
	b := host(t, "c/probe")
	res := b.exec("sh", "-c", "true").exits(255)
	res.warns(`exec: "sh": executable file not found in $PATH`, "the container's image has no programs", "/usr/bin")
	if strings.Count(res.stderr, "\n") != 1 {
		t.Errorf("more than a line: %v", res)
	}
	b.exec("/bin/sh").exits(255).warns(`exec: "/bin/sh": stat /bin/sh: no such file or directory`)
	must(t, os.MkdirAll(b.Path("bin"), 0o755))
	b.exec("sh").exits(255).warns(`has no program "sh" in PATH=`)
	b.exec("-e", "PATH=", "--", "sh").exits(255).warns("no PATH to find it in")
	b.end()
}

// each host runs every kind of module beside its own program.
func eachExec(t *testing.T, row func(t *testing.T, w workload, b *box, module string)) {
	for _, guest := range []string{"busybox", "c/probe"} {
		for _, w := range workloads[1:] {
			t.Run(w.name+" in "+guest, func(t *testing.T) {
				row(t, w, host(t, guest, addModule(w.guest, "lib/exec.wasm")), "/lib/exec.wasm")
			})
		}
	}
}

func TestExecModule(t *testing.T) {
	eachExec(t, func(t *testing.T, w workload, b *box, module string) {
		if res := b.exec(append([]string{module}, w.argv("hello", "")...)...).ok(); res.stdout != "hello from "+w.name+"\n" || res.stderr != "" {
			t.Errorf("hello: %v", res)
		}
		b.exec(append([]string{module}, w.argv("exit", "7")...)...).exits(7)
		b.exec(append([]string{module}, w.argv("cat", "")...)...).ok().says("from stdin\n")
		res := b.exec(append([]string{"-e", "A=1,2", "-e", "GODEBUG=inittrace=1", "--cwd", "/lib", "--", module}, w.argv("env", "")...)...).ok()
		got := strings.Fields(res.stdout)
		slices.Sort(got)
		want := []string{"A=1,2", "GODEBUG=inittrace=1", "HOME=/", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "PWD=/lib"}
		if !slices.Equal(got, want) {
			t.Errorf("environment %q, want %q", got, want)
		}
		b.want(specs.StateRunning)
		b.end()
	})
}

// By which names a module is found, in what is mounted when it is asked for.
func TestExecModuleNames(t *testing.T) {
	b := host(t, "busybox", addModule("c/probe", "lib/exec.wasm"), func(b *box) {
		b.Spec.Mounts = append(b.Spec.Mounts, specs.Mount{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs"})
		must(b.t, os.Symlink("/lib/exec.wasm", b.Path("bin", "probe")))
		must(b.t, os.Symlink("../../../../lib/exec.wasm", b.Path("up")))
	})
	// A file system that config.json says nothing about the contents of.
	b.exec("sh", "-c", "busybox cp /lib/exec.wasm /tmp/late.wasm").ok()
	for _, args := range [][]string{
		{"/lib/exec.wasm"}, {"probe"}, {"/up"}, {"/tmp/late.wasm"}, {"/proc/../lib/./exec.wasm"},
		{"--cwd", "/lib", "--", "./exec.wasm"}, {"--cwd", "/lib", "--", "exec.wasm"}, {"-e", "PATH=/tmp:/lib", "--", "late.wasm"},
	} {
		b.exec(args...).ok().says("hello from C\n")
	}
	if _, err := os.Stat(b.Path("tmp", "late.wasm")); err == nil {
		t.Error("the module lies in the bundle and not on the container's tmpfs")
	}
	b.exec("/lib/exec.wasm#nosuch").exits(255).warns(`module /lib/exec.wasm: exports no function "nosuch"`)
	b.end()
}

// A module that cannot run is refused before it runs, with the code for that.
func TestExecModuleRefusals(t *testing.T) {
	b := host(t, "busybox", addModule("wat/no-start", "no-start.wasm"), func(b *box) {
		for name, content := range map[string]string{
			"broken.wasm":    "\x00asm\x01\x00\x00\x00broken",
			"version.wasm":   "\x00asm\x02\x00\x00\x00",
			"component.wasm": "\x00asm\x0d\x00\x01\x00",
		} {
			must(b.t, os.WriteFile(b.Path(name), []byte(content), 0o644))
		}
		must(b.t, os.Symlink(filepath.Join(b.dir, "outside.wasm"), b.Path("outside")))
		must(b.t, os.WriteFile(filepath.Join(b.dir, "outside.wasm"), []byte("\x00asm\x01\x00\x00\x00"), 0o755))
	})
	for name, want := range map[string]string{
		"/broken.wasm": "module /broken.wasm: ", "/version.wasm": "unknown Wasm version", "/component.wasm": "component",
		"/no-start.wasm": `exports no function "_start"`, "/outside": "no such file or directory",
	} {
		b.exec(name).exits(255).warns(name, want, "!panic")
	}
	b.end()
}

// A module that is executed lives where the container lives.
func TestExecModuleProcess(t *testing.T) {
	b := host(t, "busybox", addModule("c/probe", "exec.wasm"), func(b *box) {
		b.Spec.Linux.Seccomp = &specs.LinuxSeccomp{
			DefaultAction: specs.ActAllow,
			Syscalls:      []specs.LinuxSyscall{{Names: []string{"sethostname"}, Action: specs.ActErrno}},
		}
	})
	pidFile := filepath.Join(b.dir, "exec-pid")
	b.call(b.execArgs([]string{"--detach", "--pid-file", pidFile, "--user", "1234:2345", "--", "/exec.wasm", "sleep", "3600"})...).ok()
	pid := b.readPid("exec-pid")
	b.await("asleep")
	for _, name := range []string{"mnt", "pid", "net", "ipc", "uts"} {
		if got, want := namespace(t, pid, name), namespace(t, b.init, name); got != want {
			t.Errorf("%s namespace %s, the container's is %s", name, got, want)
		}
	}
	for name, want := range map[string]string{"cgroup": b.cgroup + "\n", "status": "Uid:\t1234\t1234\t1234\t1234"} {
		content, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
		must(t, err)
		result{t: t, what: name, stdout: string(content)}.says(want)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(t, err)
	result{t: t, what: "status", stdout: string(status)}.says("Gid:\t2345\t", "NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000")
	b.quiet("ps", b.id).ok().says("/exec.wasm sleep 3600")
	must(t, unix.Kill(pid, unix.SIGTERM))
	first := b.init
	b.init = pid
	if code := b.wait(); code != 143 {
		t.Errorf("exit status %d after SIGTERM, want 143", code)
	}
	b.init = first
	b.end()
}

// The container's memory limit is the guest's as well.
func TestExecModuleMemory(t *testing.T) {
	const limit = 192 << 20
	b := host(t, "busybox", addModule("c/probe", "exec.wasm"), func(b *box) {
		l := int64(limit)
		b.limit(specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &l, Swap: &l}})
	})
	res := b.exec("/exec.wasm", "grow").ok()
	var mib int
	if _, err := fmt.Sscanf(res.stdout, "grown %d MiB", &mib); err != nil || mib < limit>>20/3 || mib >= limit>>20 {
		t.Errorf("grown %d MiB (%v) within %d: %v", mib, err, limit>>20, res)
	}
	b.end()
}

// What is executed on a terminal has one, over a socket and in the foreground.
func TestExecTerminal(t *testing.T) {
	rows := []struct {
		guest string
		args  []string
	}{
		{"busybox", []string{"sh", "-c", `for fd in 0 1 2; do if [ -t $fd ]; then echo fd $fd is a terminal; fi; done; read line; echo read $line`}},
		{"c/probe", []string{"/app.wasm", "terminal"}},
	}
	for _, row := range rows {
		t.Run(row.guest+" socket", func(t *testing.T) {
			b := host(t, row.guest)
			path := filepath.Join(b.dir, "console")
			listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
			must(t, err)
			defer listener.Close()
			flags := []string{"--detach", "--tty", "--pid-file", filepath.Join(b.dir, "exec-pid"), "--console-socket", path, "--"}
			b.exec(append(flags, row.args...)...).ok()
			master := receive(t, listener)
			defer master.Close()
			s := watch(master)
			s.converse(t)
			first := b.init
			b.init = b.readPid("exec-pid")
			if code := b.wait(); code != 0 {
				t.Errorf("exit status %d, terminal %q", code, s)
			}
			b.init = first
			<-s.done
			b.end()
		})
		t.Run(row.guest+" foreground", func(t *testing.T) {
			b := host(t, row.guest)
			master, slave := openPty(t)
			defer master.Close()
			converseOn(t, master, slave, b.command(b.execArgs(append([]string{"--tty", "--"}, row.args...))...))
			b.end()
		})
	}
}

// A pidfd of the process goes to the caller who asks for one.
func TestExecPidfdSocket(t *testing.T) {
	needRunw(t) // runc has it since 1.2
	b := host(t, "busybox", addModule("c/probe", "exec.wasm"))
	for _, args := range [][]string{{"sleep", "3600"}, {"/exec.wasm", "sleep", "3600"}} {
		path := filepath.Join(b.dir, "pidfd")
		listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		must(t, err)
		flags := []string{"--detach", "--pid-file", filepath.Join(b.dir, "exec-pid"), "--pidfd-socket", path, "--"}
		b.call(b.execArgs(append(flags, args...))...).ok()
		pidfd := receive(t, listener)
		must(t, listener.Close())
		pid := b.readPid("exec-pid")
		must(t, unix.PidfdSendSignal(int(pidfd.Fd()), unix.SIGKILL, nil, 0))
		must(t, pidfd.Close())
		first := b.init
		b.init = pid
		if code := b.wait(); code != 137 {
			t.Errorf("%v: exit status %d after SIGKILL through the pidfd, want 137", args, code)
		}
		b.init = first
	}
	b.end()
}

// Several at once do not disturb each other.
func TestExecTogether(t *testing.T) {
	b := host(t, "c/probe")
	const n = 8
	codes := make(chan int, n)
	for i := range n {
		cmd := b.command(b.execArgs([]string{"/app.wasm", "exit", fmt.Sprint(20 + i)})...)
		must(t, cmd.Start())
		go func() {
			err := cmd.Wait()
			var code = -1
			if cmd.ProcessState != nil {
				code = cmd.ProcessState.ExitCode()
			}
			if err == nil {
				code = 0
			}
			codes <- code
		}()
	}
	var got []int
	for range n {
		select {
		case code := <-codes:
			got = append(got, code)
		case <-time.After(commandTimeout):
			t.Fatal("hangs")
		}
	}
	slices.Sort(got)
	for i, code := range got {
		if code != 20+i {
			t.Errorf("exit codes %v", got)
			break
		}
	}
	b.end()
}

// In a user namespace the module runs with the mapped ids, in a rootless container without
// anybody's privileges.
func TestExecUserNamespace(t *testing.T) {
	for _, name := range []string{"mapped", "rootless"} {
		t.Run(name, func(t *testing.T) {
			b := host(t, "busybox", addModule("c/probe", "exec.wasm"), func(b *box) {
				if name == "rootless" {
					b.rootless()
					return
				}
				b.Spec.Linux.Namespaces = append(b.Spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
				ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
				b.Spec.Linux.UIDMappings, b.Spec.Linux.GIDMappings = ids, ids
				must(t, os.Chown(b.Path(), 100000, 100000))
			})
			b.exec("id", "-u").ok().says("0\n")
			b.exec("/exec.wasm").ok().says("hello from C\n")
			b.exec("/exec.wasm", "exit", "7").exits(7)
			b.exec("nosuch").exits(255).warns(`executable file not found in $PATH`)
			b.end()
		})
	}
}

// A signal right after exec returns ends the module as one later on does: the process is
// not pid 1, but it may still be on its way to the engine.
func TestExecModuleKilledEarly(t *testing.T) {
	b := host(t, "busybox", addModule("c/probe", "exec.wasm"))
	first := b.init
	for range 20 {
		b.call(b.execArgs([]string{"--detach", "--pid-file", filepath.Join(b.dir, "exec-pid"), "--", "/exec.wasm", "sleep", "3600"})...).ok()
		b.init = b.readPid("exec-pid")
		must(t, unix.Kill(b.init, unix.SIGTERM))
		if code := b.wait(); code != 143 {
			t.Fatalf("exit status %d, want 143", code)
		}
	}
	b.init = first
	b.end()
}
