package sandbox

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestMissingContainer(t *testing.T) {
	r := Runtime{Root: t.TempDir()}
	calls := map[string]func(id string) error{
		"start":  r.Start,
		"state":  func(id string) error { _, err := r.State(id); return err },
		"kill":   func(id string) error { return r.Kill(KillArgs{ID: id, Signal: unix.SIGTERM}) },
		"delete": func(id string) error { return r.Delete(id, false) },
		"pause":  r.Pause,
		"resume": r.Resume,
		"ps":     func(id string) error { _, err := r.Processes(id); return err },
		"update": func(id string) error { return r.Update(UpdateArgs{ID: id}) },
		"stats":  func(id string) error { _, err := r.Stats(id); return err },
		"events": func(id string) error { return r.Watch(id, 1, nil, nil) },
		"exec":   func(id string) error { _, err := r.Target(id, false); return err },
	}
	for name, call := range calls {
		for id, want := range map[string]error{"": ErrEmptyID, "absent": ErrNotExist, "../x": ErrInvalidID, "..": ErrInvalidID} {
			if err := call(id); !errors.Is(err, want) {
				t.Errorf("%s %q: error is %v, want %v", name, id, err, want)
			}
		}
	}
	if err := r.Delete("absent", true); err != nil {
		t.Errorf("delete --force of a missing container: %v", err)
	}
}

// A note of a cgroup is good for one delete, whatever a kill has made of it.
func TestDeleteRemainsNote(t *testing.T) {
	for name, row := range map[string]struct {
		note string
		want string
	}{
		"cut off":    {`{"cgroup":{"na`, ""},
		"empty":      {"", ""},
		"no paths":   {`{"cgroup":{},"paths":{}}`, "names no cgroup"},
		"gone since": {`{"cgroup":{"path":"/x"},"paths":{"devices":"/nonexistent/a"}}`, ""},
	} {
		r := Runtime{Root: t.TempDir()}
		if err := os.WriteFile(r.remainsPath("half"), []byte(row.note), 0o600); err != nil {
			t.Fatal(err)
		}
		err := r.Delete("half", true)
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s: error is %v, want %q", name, err, row.want)
		}
		if _, err := os.Stat(r.remainsPath("half")); (row.want == "") != errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the note: %v", name, err)
		}
	}
}

// TestDeleteRemains: a create that was killed leaves a directory without
// state.json.
func TestDeleteRemains(t *testing.T) {
	for _, force := range []bool{false, true} {
		r := Runtime{Root: t.TempDir()}
		if err := os.MkdirAll(filepath.Join(r.Root, "half", "notify"), 0o700); err != nil {
			t.Fatal(err)
		}
		err := r.Delete("half", force)
		if force != (err == nil) {
			t.Errorf("force %t: error is %v", force, err)
		}
		if _, err := os.Stat(filepath.Join(r.Root, "half")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("force %t: the directory is still there (%v)", force, err)
		}
	}
}

func TestListSkipsWhatItCannotRead(t *testing.T) {
	r := Runtime{Root: t.TempDir()}
	for _, name := range []string{"empty", "broken"} {
		if err := os.Mkdir(filepath.Join(r.Root, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(r.Root, "broken", "state.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	var skipped []string
	states, err := r.List(func(err error) { skipped = append(skipped, err.Error()) })
	if err != nil || len(states) != 0 {
		t.Errorf("got %v, %v", states, err)
	}
	if len(skipped) != 2 || !strings.Contains(skipped[0], `"broken"`) || !strings.Contains(skipped[1], `"empty"`) {
		t.Errorf("skipped %q", skipped)
	}
	absent := Runtime{Root: filepath.Join(r.Root, "absent")}
	if states, err := absent.List(func(error) {}); !errors.Is(err, os.ErrNotExist) || states != nil {
		t.Errorf("missing root: %v, %v", states, err)
	}
}

func TestCheckTerminal(t *testing.T) {
	cases := []struct {
		detach, terminal bool
		socket           string
		want             string
	}{
		{detach: true, terminal: true, want: "without setting console socket"},
		{detach: true, socket: "/s", want: "will not detach or allocate tty"},
		{terminal: true, socket: "/s", want: "will not detach or allocate tty"},
		{detach: true, terminal: true, socket: "/s"},
		{terminal: true},
		{detach: true},
	}
	for _, c := range cases {
		l := launch{
			detach: c.detach,
			spec:   &specs.Process{Terminal: c.terminal},
			args:   &ProcessArgs{ConsoleSocket: c.socket},
		}
		err := l.checkTerminal()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: error is %v", c, err)
		}
	}
}

// TestNotify plays both ends: the container that says it is ready, and systemd
// that acknowledges the barrier by closing its pipe.
func TestNotify(t *testing.T) {
	dir := t.TempDir()
	hostPath := filepath.Join(dir, "host.sock")
	host, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: hostPath, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	t.Setenv("NOTIFY_SOCKET", hostPath)
	if err := os.Mkdir(filepath.Join(dir, "c1"), 0o700); err != nil {
		t.Fatal(err)
	}
	n := newNotifySocket(dir, "c1")
	spec := &specs.Spec{Process: &specs.Process{}}
	n.addTo(spec)
	if len(spec.Mounts) != 1 || len(spec.Process.Env) != 1 {
		t.Errorf("spec got %v and %v", spec.Mounts, spec.Process.Env)
	}
	if err := errors.Join(n.makeDir(), n.bind()); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- n.forward(os.Getpid(), 4711) }()
	guest, err := net.Dial("unixgram", n.path)
	if err != nil {
		t.Fatal(err)
	}
	defer guest.Close()
	if _, err := guest.Write([]byte("STATUS=starting\nREADY=1\n")); err != nil {
		t.Fatal(err)
	}
	got := receiveAll(t, host, 3)
	if got[0] != "READY=1\n" || got[1] != "MAINPID=4711\n" || got[2] != "BARRIER=1" {
		t.Errorf("the host got %q", got)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// receiveAll reads n messages and closes every descriptor that came along.
func receiveAll(t *testing.T, conn *net.UnixConn, n int) (messages []string) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buf, oob := make([]byte, 1024), make([]byte, unix.CmsgSpace(4))
	for range n {
		size, oobSize, _, _, err := conn.ReadMsgUnix(buf, oob)
		if err != nil {
			t.Fatal(err)
		}
		messages = append(messages, string(buf[:size]))
		msgs, err := unix.ParseSocketControlMessage(oob[:oobSize])
		if err != nil {
			t.Fatal(err)
		}
		for i := range msgs {
			fds, err := unix.ParseUnixRights(&msgs[i])
			if err != nil {
				t.Fatal(err)
			}
			for _, fd := range fds {
				unix.Close(fd)
			}
		}
	}
	return messages
}
