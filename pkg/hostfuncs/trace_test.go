package hostfuncs

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/runw/runw/pkg/hostfuncs/abi"
	"golang.org/x/sys/unix"
)

// TestTrace compares whole lines: people grep them, so they are kept stable.
func TestTrace(t *testing.T) {
	var out strings.Builder
	file, err := unix.Open(filepath.Join(t.TempDir(), "f"), unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	g := newGuest(t, Config{
		Args: []string{"app", "x"}, Trace: &out, Stdio: [3]int{-1, file, -1},
		Preopens: []Preopen{{Name: "/", Path: t.TempDir()}},
	})
	name, nameLen := g.put("no\tsuch")
	long, longLen := g.put(strings.Repeat("y", 130))
	// The lines show addresses: 0x1000 is the first that prints as one.
	g.top = 0x1000
	argc, size := g.alloc(4), g.alloc(4)
	subs := g.putSubs([]sub{afterSub(1, 0)})
	for _, c := range []struct {
		name string
		args []uint64
		want string
	}{
		{"args_sizes_get", []uint64{argc, size}, "args_sizes_get() = SUCCESS argc=2 argv_buf_size=6"},
		{"args_sizes_get", []uint64{guestMemory, size}, "args_sizes_get() = FAULT"},
		{"args_get", []uint64{2000, 0x2000}, "args_get(argv=2000, argv_buf=0x2000) = SUCCESS"},
		{"clock_time_get", []uint64{9, 1 << 40, argc}, "clock_time_get(id=9, precision=0x10000000000) = INVAL"},
		{"fd_seek", []uint64{1, 1 << 40, 0, argc}, "fd_seek(fd=1, offset=0x10000000000, whence=0) = SUCCESS newoffset=1099511627776"},
		{"fd_close", []uint64{77}, "fd_close(fd=77) = BADF"},
		{"poll_oneoff", []uint64{subs, 0x3000, 1, argc},
			"poll_oneoff(in=0x1010, out=0x3000, nsubscriptions=1) = SUCCESS nevents=1"},
		{"sched_yield", nil, "sched_yield() = SUCCESS"},
		{"sock_recv", []uint64{3, 0x1000, 1, 0, argc, size},
			"sock_recv(fd=3, ri_data=0x1000, ri_data_len=1, ri_flags=0) = NOTSOCK"},
		{"proc_raise", []uint64{31}, "proc_raise(sig=31) = INVAL"},
		{"path_unlink_file", []uint64{3, name, nameLen}, `path_unlink_file(fd=3, path="no\tsuch") = NOENT`},
		{"path_unlink_file", []uint64{3, long, longLen},
			`path_unlink_file(fd=3, path="` + strings.Repeat("y", 128) + `"...) = NOENT`},
		{"path_unlink_file", []uint64{3, 0xfffffff0, 16}, `path_unlink_file(fd=3, path=0xfffffff0+16!) = FAULT`},
	} {
		t.Run(c.name, func(t *testing.T) {
			out.Reset()
			g.call(c.name, c.args...)
			if out.String() != c.want+"\n" {
				t.Errorf("got  %swant %s", out.String(), c.want)
			}
		})
	}
	for name, want := range map[string]string{
		"proc_exit":  "proc_exit(rval=6) exits\n",
		"proc_raise": "proc_raise(sig=6) exits\n",
	} {
		out.Reset()
		if _, err := g.invoke(name, 6); err == nil {
			t.Errorf("%s does not end the guest", name)
		}
		if out.String() != want {
			t.Errorf("got %q, want %q", out.String(), want)
		}
	}
}

// TestTraceOff wants no decorator, and so no cost, without a Trace.
func TestTraceOff(t *testing.T) {
	g := newGuest(t, Config{})
	funcs, err := g.Link([]abi.Import{witxImport("sched_yield"), witxImport("clock_time_get")})
	if err != nil {
		t.Fatal(err)
	}
	stack := []uint64{1, 0, 64}
	if n := testing.AllocsPerRun(100, func() {
		for _, f := range funcs {
			stack[0], stack[1], stack[2] = 1, 0, 64
			if err := f.Call(g.mem, stack); err != nil {
				t.Fatal(err)
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations a call", n)
	}
}
