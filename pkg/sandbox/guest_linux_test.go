package sandbox

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"
)

func TestGuestEnv(t *testing.T) {
	cases := []struct {
		name      string
		in, want  []string
		wantError string
	}{
		{name: "empty"},
		{name: "last value wins, order kept", in: []string{"A=1", "B=2", "A=3"}, want: []string{"B=2", "A=3"}},
		{name: "value with =", in: []string{"A=b=c", "E="}, want: []string{"A=b=c", "E="}},
		{name: "empty HOME is dropped", in: []string{"HOME=", "A=1"}, want: []string{"A=1"}},
		{name: "runtime's own names", in: []string{"_LIBCONTAINER_INITPIPE=9", "GODEBUG=x"}, want: []string{"_LIBCONTAINER_INITPIPE=9", "GODEBUG=x"}},
		{name: "no =", in: []string{"A=1", "B"}, wantError: "process.env[1]: invalid environment variable: missing '='"},
		{name: "no name", in: []string{"=x"}, wantError: "name cannot be empty"},
		{name: "NUL", in: []string{"A=x\x00y"}, wantError: `"A": contains nul byte`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := guestEnv(c.in)
			if c.wantError != "" {
				if err == nil || !strings.Contains(err.Error(), c.wantError) {
					t.Fatalf("error is %v, want %q in it", err, c.wantError)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(got)+len(c.want) > 0 && !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestGuestInstall follows a handoff through the descriptors as execve would
// number them.
func TestGuestInstall(t *testing.T) {
	open := func(name string) *os.File {
		f, err := os.Create(filepath.Join(t.TempDir(), name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	g := Guest{
		Engine:   "wazero",
		Preopens: []Preopen{{Name: "/", Path: "/"}},
		Module:   open("module"),
		Artifact: open("artifact"),
		metrics:  &metrics{file: open("metrics")},
	}
	p := &libcontainer.Process{
		Args:       []string{"/app.wasm", "x"},
		Env:        []string{"LD_PRELOAD=evil.so"},
		ExtraFiles: []*os.File{open("inherited")},
	}
	handoff, err := g.install("c1", p, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer handoff.Close()
	if want := []string{"/proc/self/exe", "engine", "4", "/app.wasm", "x"}; !reflect.DeepEqual(p.Args, want) {
		t.Errorf("args %q, want %q", p.Args, want)
	}
	if want := []string{"GOMAXPROCS=1"}; !reflect.DeepEqual(p.Env, want) {
		t.Errorf("the engine gets the environment %q", p.Env)
	}
	if n := len(p.ExtraFiles); n != 5 || p.ExtraFiles[1] != handoff || p.ExtraFiles[2] != g.Module || p.ExtraFiles[3] != g.metrics.file || p.ExtraFiles[4] != g.Artifact {
		t.Errorf("files are %v", p.ExtraFiles)
	}
	if _, err := handoff.WriteAt([]byte("x"), 0); err == nil {
		t.Error("the handoff can still be written to")
	}
	if err := handoff.Truncate(0); err == nil {
		t.Error("the handoff can still be cut short")
	}
}

func TestReadHandoffRefuses(t *testing.T) {
	plain, err := os.Create(filepath.Join(t.TempDir(), "plain"))
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if _, err := ReadHandoff(int(plain.Fd())); err == nil || !strings.Contains(err.Error(), "no sealed memfd") {
		t.Errorf("plain file: error is %v", err)
	}
	// Sealed, but on a number that does not fit what it says.
	f, err := handoffFile(&Handoff{Inherited: 1 << 19})
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ReadHandoff(fd); err == nil || !strings.Contains(err.Error(), "inherited") {
		t.Errorf("wrong number: error is %v", err)
	}
}

func TestPassFiles(t *testing.T) {
	t.Setenv("LISTEN_PID", "1") // of another process
	t.Setenv("LISTEN_FDS", "5")
	p := &libcontainer.Process{}
	if err := passFiles(p, listenFDs(), 0); err != nil || len(p.ExtraFiles) != 0 {
		t.Errorf("sockets of another process were passed: %v, %v", p.ExtraFiles, err)
	}
	if err := passFiles(p, 0, 1<<20); err == nil || !strings.Contains(err.Error(), "preserved-fd") {
		t.Errorf("descriptors that do not exist: error is %v", err)
	}
}

func TestWritePIDFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pid")
	for _, pid := range []int{7, 12345} { // the second replaces the first
		if err := writePIDFile(path, pid); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "12345" {
		t.Errorf("file holds %q, %v", b, err)
	}
	missing := filepath.Join(t.TempDir(), "no", "pid")
	if err := writePIDFile(missing, 1); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error is %v", err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("left in the directory: %v, %v", entries, err)
	}
}
