package hostfuncs

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pipe gives both ends of a pipe to a guest at fds 3 (reading) and 4.
func pipeGuest(t testing.TB) *guest {
	t.Helper()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	return newGuest(t, Config{Inherited: p[:]})
}

// host is the host's descriptor behind a guest's.
func (g *guest) host(fd uint32) int {
	g.t.Helper()
	e, errno := g.files.get(fd)
	if errno != errnoSuccess {
		g.t.Fatalf("fd %d: %s", fd, errno)
	}
	return e.fd
}

func (g *guest) hostWrite(fd uint32, s string) {
	g.t.Helper()
	if n, err := unix.Write(g.host(fd), []byte(s)); n != len(s) || err != nil {
		g.t.Fatalf("write: %d, %v", n, err)
	}
}

func TestPollOneoffPipe(t *testing.T) {
	g := pipeGuest(t)
	soon := afterSub(9, time.Millisecond)
	tick := event{userdata: 9}
	// Empty: only the clock and the writing end are ready.
	wantEvents(t, g.poll(readSub(1, 3), soon), tick)
	wantEvents(t, g.poll(readSub(1, 3), writeSub(2, 4), soon), event{userdata: 2, kind: eventFdWrite})
	g.hostWrite(4, "hello")
	got := g.poll(readSub(1, 3), afterSub(9, time.Hour))
	wantEvents(t, got, event{userdata: 1, kind: eventFdRead})
	if got[0].nbytes != 5 {
		t.Errorf("%d bytes are said to be readable, want 5", got[0].nbytes)
	}
	// The wrong ends are never ready.
	wantEvents(t, g.poll(writeSub(1, 3), readSub(2, 4), soon), tick)
	// Writer gone: first what is left can be read, then there is nothing.
	if errno := g.files.close(4); errno != errnoSuccess {
		t.Fatal(errno)
	}
	wantEvents(t, g.poll(readSub(1, 3), writeSub(2, 3)), event{userdata: 1, kind: eventFdRead, flags: eventHangup})
	if _, err := unix.Read(g.host(3), make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	got = g.poll(readSub(1, 3), writeSub(2, 3), afterSub(9, time.Hour))
	wantEvents(t, got, event{userdata: 1, kind: eventFdRead, flags: eventHangup},
		event{userdata: 2, kind: eventFdWrite, flags: eventHangup})
	if got[0].nbytes != 0 {
		t.Errorf("%d bytes are said to be readable at the end", got[0].nbytes)
	}
}

func TestPollOneoffPipeWithoutReader(t *testing.T) {
	g := pipeGuest(t)
	if errno := g.files.close(3); errno != errnoSuccess {
		t.Fatal(errno)
	}
	wantEvents(t, g.poll(writeSub(1, 4)), event{userdata: 1, kind: eventFdWrite, flags: eventHangup})
}

func TestPollOneoffTerminal(t *testing.T) {
	master, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(master, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := unix.Open(fmt.Sprintf("/dev/pts/%d", n), unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	g := newGuest(t, Config{Stdio: [3]int{slave, -1, -1}})
	soon := afterSub(9, time.Millisecond)
	wantEvents(t, g.poll(readSub(1, 0), soon), event{userdata: 9})
	wantEvents(t, g.poll(readSub(1, 0), writeSub(2, 0), soon), event{userdata: 2, kind: eventFdWrite})
	// A line counts when it is finished.
	for _, typed := range []string{"ab", "c\n"} {
		if _, err := unix.Write(master, []byte(typed)); err != nil {
			t.Fatal(err)
		}
	}
	g.await(0)
	if got := g.poll(readSub(1, 0)); got[0].nbytes != 4 {
		t.Errorf("%d bytes can be read, want 4", got[0].nbytes)
	}
	if err := unix.Close(master); err != nil {
		t.Fatal(err)
	}
	got := g.poll(readSub(1, 0), writeSub(2, 0), afterSub(9, time.Hour))
	for _, e := range got {
		if e.userdata == 9 || e.flags != eventHangup {
			t.Errorf("event %+v after the terminal is gone", e)
		}
	}
}

// TestPollOneoffOther polls what is neither file, pipe, terminal nor socket.
func TestPollOneoffOther(t *testing.T) {
	timer, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	g := newGuest(t, Config{Inherited: []int{timer, null}})
	wantEvents(t, g.poll(readSub(1, 3), afterSub(9, time.Millisecond)), event{userdata: 9})
	at := unix.ItimerSpec{Value: unix.Timespec{Nsec: 1}}
	if err := unix.TimerfdSettime(timer, 0, &at, nil); err != nil {
		t.Fatal(err)
	}
	g.await(3)
	wantEvents(t, g.poll(readSub(1, 4), writeSub(2, 4)),
		event{userdata: 1, kind: eventFdRead}, event{userdata: 2, kind: eventFdWrite})
	// Somebody closed the descriptor behind the guest's back.
	if err := unix.Close(timer); err != nil {
		t.Fatal(err)
	}
	wantEvents(t, g.poll(readSub(1, 3), afterSub(9, time.Hour)),
		event{userdata: 1, kind: eventFdRead, errno: errnoBadf})
	g.files.take(3)
}

func TestPollOneoffRegularFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, []byte("0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := unix.Open(name, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := unix.Open(filepath.Dir(name), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	g := newGuest(t, Config{Inherited: []int{file, dir}})
	for _, c := range []struct{ seek, want int64 }{{0, 10}, {4, 6}, {10, 0}, {99, 0}} {
		if _, err := unix.Seek(file, c.seek, unix.SEEK_SET); err != nil {
			t.Fatal(err)
		}
		got := g.poll(readSub(1, 3), writeSub(2, 3), readSub(3, 4), afterSub(9, time.Hour))
		wantEvents(t, got, event{userdata: 1, kind: eventFdRead}, event{userdata: 2, kind: eventFdWrite},
			event{userdata: 3, kind: eventFdRead})
		if got[0].nbytes != uint64(c.want) {
			t.Errorf("at %d: %d bytes, want %d", c.seek, got[0].nbytes, c.want)
		}
	}
}

// TestPollOneoffManyFDs polls more descriptors than select(2) could.
func TestPollOneoffManyFDs(t *testing.T) {
	const pipes = 3000
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		t.Fatal(err)
	}
	if lim.Cur < 2*pipes+100 {
		t.Skipf("RLIMIT_NOFILE is %d, the test needs %d", lim.Cur, 2*pipes+100)
	}
	var fds []int
	for range pipes {
		var p [2]int
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		fds = append(fds, p[:]...)
	}
	g := newGuest(t, Config{Inherited: fds})
	var subs []sub
	for i := range pipes {
		subs = append(subs, readSub(uint64(i), uint32(3+2*i)))
	}
	subs = append(subs, afterSub(pipes, 10*time.Second))
	g.hostWrite(3+2*17+1, "x")
	g.hostWrite(3+2*(pipes-1)+1, "x")
	wantEvents(t, g.poll(subs...), event{userdata: 17, kind: eventFdRead},
		event{userdata: pipes - 1, kind: eventFdRead})
}
