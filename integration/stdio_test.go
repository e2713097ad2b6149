package integration

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Standard input goes in and comes out as it was, zero bytes and all.
func TestStdin(t *testing.T) {
	content := bytes.Repeat([]byte("runw \x00\xff\r\n"), 200_000)
	each(t, "cat", "", func(t *testing.T, _ workload, b *box) {
		res := b.piped(bytes.NewReader(content), "run", "--bundle", b.Dir, b.id).ok()
		if sha256.Sum256([]byte(res.stdout)) != sha256.Sum256(content) {
			t.Errorf("%d bytes in, %d bytes out, and not the same", len(content), len(res.stdout))
		}
	})
}

func TestStdinClosed(t *testing.T) {
	each(t, "cat", "", func(t *testing.T, _ workload, b *box) {
		if res := b.run().ok(); res.stdout != "" {
			t.Errorf("output of nothing: %v", res)
		}
	})
}

// floods write 64 MiB.
var floods = []struct {
	guest string
	args  []string
}{
	{"busybox", []string{"dd", "if=/dev/zero", "bs=1M", "count=64"}},
	{"c/probe", []string{"flood", "64"}},
}

// A reader that goes away ends the writer: EPIPE or SIGPIPE, but never a hang.
func TestStdoutReaderGone(t *testing.T) {
	for _, row := range floods {
		t.Run(row.guest, func(t *testing.T) {
			b := newBox(t, row.guest, row.args...)
			must(t, b.Write())
			cmd := b.command("run", "--bundle", b.Dir, b.id)
			out, err := cmd.StdoutPipe()
			must(t, err)
			must(t, cmd.Start())
			_, err = io.ReadFull(out, make([]byte, 4096))
			must(t, err)
			must(t, out.Close())
			if code := exitCode(t, cmd.Wait()); code == 0 {
				t.Error("wrote 64 MiB to nobody and exited 0")
			}
		})
	}
}

func TestBigStdout(t *testing.T) {
	for _, row := range floods {
		t.Run(row.guest, func(t *testing.T) {
			b := newBox(t, row.guest, row.args...)
			res := b.piped(nil, "run", "--bundle", b.Dir, b.id).ok()
			if len(res.stdout) != 64<<20 {
				t.Errorf("%d bytes of %d", len(res.stdout), 64<<20)
			}
		})
	}
}

// hostile are variables that change a Go program that links libcontainer, or any program.
var hostile = []string{
	"_LIBCONTAINER_INITPIPE=9", "_LIBCONTAINER_FIFOFD=7", "_LIBCONTAINER_LOGPIPE=5", "_LIBCONTAINER_INITTYPE=standard",
	"GODEBUG=inittrace=1,schedtrace=1", "GOTRACEBACK=crash", "GOMAXPROCS=0x", "GOGC=off", "LD_PRELOAD=/nonexistent.so",
	"RUNW_AOT_DIR=/nonexistent", "EMPTY=", "SPACE= a  b ", "UTF8=grün",
}

// The guest's environment reaches the guest and nothing else.
func TestEnvironment(t *testing.T) {
	each(t, "env", "", func(t *testing.T, w workload, b *box) {
		want := slices.Clone(hostile)
		if w.guest == "busybox" {
			// A shell would add to it, and the dynamic loader's variable is its own business.
			want = []string{"FOO=bar", "EMPTY=", "GODEBUG=inittrace=1"}
		}
		b.Spec.Process.Env = append([]string{"PATH=/bin", "HOME=/tmp"}, want...)
		res := b.run().ok()
		// A Go guest is meant to obey its own GODEBUG.
		if res.stderr != "" && w.name != "Go" {
			t.Errorf("a variable reached more than the guest: %v", res)
		}
		want = append(want, "PATH=/bin", "HOME=/tmp")
		got := strings.Split(strings.TrimSuffix(res.stdout, "\n"), "\n")
		if w.guest != "busybox" {
			// How a module is told its working directory (Go's runtime reads it).
			want = append(want, "PWD=/")
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("environment\n%q, want\n%q", got, want)
		}
	})
}

func TestArguments(t *testing.T) {
	b := newBox(t, "c/probe")
	b.Spec.Process.Args = []string{"/app.wasm", "args", "", "a b", "--flag=x", "-", "grün", "init", "%s"}
	want := ""
	for i, arg := range b.Spec.Process.Args {
		want += fmt.Sprintf("%d=%s\n", i, arg)
	}
	if res := b.run().ok(); res.stdout != want {
		t.Errorf("want %q: %v", want, res)
	}
}

// --preserve-fds N hands the caller's descriptors 3 to 3+N-1 on, under the same numbers.
func TestPreserveFds(t *testing.T) {
	rows := []struct {
		guest string
		args  []string
	}{
		{"busybox", []string{"sh", "-c", "cat <&3; cat <&4"}},
		{"c/probe", []string{"readfd", "3"}},
	}
	for _, row := range rows {
		t.Run(row.guest, func(t *testing.T) {
			b := newBox(t, row.guest, row.args...)
			for _, name := range []string{"three", "four"} {
				file, err := os.Open(b.write(name, name+"\n"))
				must(t, err)
				defer file.Close()
				b.extra = append(b.extra, file)
			}
			res := b.run("--preserve-fds", "2").ok()
			res.says("three\n")
			if row.guest == "busybox" {
				res.says("four\n")
			}
		})
	}
}

// Without --preserve-fds nothing of the caller's is seen.
func TestFdsNotPreserved(t *testing.T) {
	rows := []struct {
		guest string
		args  []string
	}{
		{"busybox", []string{"sh", "-c", "cat <&3 || exit 1"}},
		{"c/probe", []string{"readfd", "9"}},
	}
	for _, row := range rows {
		t.Run(row.guest, func(t *testing.T) {
			b := newBox(t, row.guest, row.args...)
			file, err := os.Open(b.write("secret", "secret\n"))
			must(t, err)
			defer file.Close()
			for range 8 {
				b.extra = append(b.extra, file)
			}
			if res := b.run(); res.code == 0 || strings.Contains(res.stdout, "secret") {
				t.Errorf("read a descriptor that was not handed on: %v", res)
			}
		})
	}
}

// A native program has its three streams, what it was handed, and nothing more.
func TestNativeFds(t *testing.T) {
	b := newBox(t, "busybox", "ls", "/proc/self/fd")
	// 3 is the directory that ls reads.
	if res := b.run().ok(); res.stdout != "0\n1\n2\n3\n" {
		t.Errorf("open in the container: %v", res)
	}
}

// The guest takes a connection on a listener that the caller opened, as systemd's sockets
// come: LISTEN_FDS counts them.
func TestListenFds(t *testing.T) {
	for _, how := range []string{"LISTEN_FDS", "preserve-fds"} {
		t.Run(how, func(t *testing.T) {
			b := newBox(t, "c/probe", "serve", "3")
			listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
			must(t, err)
			defer listener.Close()
			file, err := listener.File()
			must(t, err)
			defer file.Close()
			b.extra = []*os.File{file}
			must(t, b.Write())
			cmd := b.command("run", "--bundle", b.Dir, "--detach", "--pid-file", filepath.Join(b.dir, "pid"), "--preserve-fds", "1", b.id)
			if how == "LISTEN_FDS" {
				// The protocol names the process that the sockets are for.
				cmd.Args = []string{"sh", "-c", `LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"`, "sh", rt.path, "--root", b.root,
					"run", "--bundle", b.Dir, "--detach", "--pid-file", filepath.Join(b.dir, "pid"), b.id}
				cmd.Path = "/bin/sh"
			}
			out, errs := b.stream("stdout"), b.stream("stderr")
			defer out.Close()
			defer errs.Close()
			cmd.Stdout, cmd.Stderr = out, errs
			must(t, cmd.Run())
			b.init = b.readPid("pid")
			conn, err := net.DialTimeout("tcp", listener.Addr().String(), 10*time.Second)
			must(t, err)
			defer conn.Close()
			must(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
			_, err = conn.Write([]byte("over the wire"))
			must(t, err)
			answer, err := io.ReadAll(conn)
			must(t, err)
			if string(answer) != "over the wire" {
				t.Errorf("answer %q", answer)
			}
			if code := b.wait(); code != 0 {
				t.Errorf("exit status %d, stdout %q, stderr %q", code, b.output("stdout"), b.output("stderr"))
			}
			b.quiet("delete", b.id).ok()
		})
	}
}
