package hostfuncs

import (
	"testing"

	"github.com/runw/runw/pkg/hostfuncs/abi"
	"golang.org/x/sys/unix"
)

// TestCallsDoNotAllocate keeps hot calls off Go's heap: the engine may run with
// the garbage collector switched off.
func TestCallsDoNotAllocate(t *testing.T) {
	g, peer := pair(t, unix.SOCK_STREAM)
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.takeOver([]int{-1, null}); err != nil {
		t.Fatal(err)
	}
	n, flags := g.alloc(8), g.alloc(2)
	iov, count := g.iovec(g.alloc(64), 64)
	in := g.putSubs([]sub{writeSub(1, 1), readSub(2, 3), afterSub(3, 0),
		{userdata: 4, timeout: 1 << 62, flags: subclockAbstime}})
	out := g.alloc(4 * eventSize)
	buf := make([]byte, 64)
	for _, c := range []struct {
		name string
		args []uint64
	}{
		{"args_sizes_get", []uint64{n, n}},
		{"clock_time_get", []uint64{0, 0, n}},
		{"clock_time_get", []uint64{1, 0, n}},
		{"clock_time_get", []uint64{2, 0, n}},
		{"fd_read", []uint64{1, iov, count, n}},
		{"fd_write", []uint64{1, iov, count, n}},
		{"poll_oneoff", []uint64{in, out, 4, n}},
		{"random_get", []uint64{n, 8}},
		{"sched_yield", nil},
		{"sock_recv", []uint64{3, iov, count, 0, n, flags}},
		{"sock_send", []uint64{3, iov, count, 0, n}},
	} {
		t.Run(c.name, func(t *testing.T) {
			funcs, err := g.Link([]abi.Import{witxImport(c.name)})
			if err != nil {
				t.Fatal(err)
			}
			stack := make([]uint64, max(len(c.args), 1))
			if allocs := testing.AllocsPerRun(50, func() {
				if c.name == "sock_recv" {
					if _, err := unix.Write(peer, buf); err != nil {
						t.Fatal(err)
					}
				}
				copy(stack, c.args)
				if err := funcs[0].Call(g.mem, stack); err != nil || stack[0] != 0 {
					t.Fatal(err, Errno(stack[0]))
				}
			}); allocs != 0 {
				t.Errorf("%v allocations a call", allocs)
			}
		})
	}
}
