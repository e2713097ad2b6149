package hostfuncs

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestClockTimeGet(t *testing.T) {
	g := newGuest(t, Config{})
	out := g.alloc(8)
	for _, c := range []struct {
		name   string
		id     uint64
		kernel int32
	}{
		{"realtime", 0, unix.CLOCK_REALTIME},
		{"monotonic", 1, unix.CLOCK_MONOTONIC},
		{"process", 2, unix.CLOCK_PROCESS_CPUTIME_ID},
		{"thread", 3, unix.CLOCK_PROCESS_CPUTIME_ID},
	} {
		t.Run(c.name, func(t *testing.T) {
			var before, after unix.Timespec
			if err := unix.ClockGettime(c.kernel, &before); err != nil {
				t.Fatal(err)
			}
			g.must("clock_time_get", c.id, 1, out)
			if err := unix.ClockGettime(c.kernel, &after); err != nil {
				t.Fatal(err)
			}
			// The monotonic clock was read once when the Host was made; how
			// far that reading lags is the time between two system calls.
			const lag = int64(20 * time.Millisecond)
			if got := int64(g.u64(out)); got < before.Nano()-lag || got > after.Nano() {
				t.Errorf("%d is not between %d and %d", got, before.Nano(), after.Nano())
			}
			last := g.u64(out)
			for range 1000 {
				g.must("clock_time_get", c.id, 0, out)
				if now := g.u64(out); now < last && c.id != clockRealtime {
					t.Fatalf("the clock went back from %d to %d", last, now)
				}
				last = g.u64(out)
			}
		})
	}
	g.want(errnoInval, "clock_time_get", 4, 0, out)
	g.want(errnoInval, "clock_time_get", 1<<31, 0, out)
	for id := range uint64(4) {
		g.want(errnoFault, "clock_time_get", id, 0, guestMemory-7)
		g.want(errnoFault, "clock_time_get", id, 0, 0xffffffff)
		g.must("clock_time_get", id, 0, guestMemory-8)
		g.must("clock_time_get", id, 0, out+3)
	}
}

func TestClockResGet(t *testing.T) {
	g := newGuest(t, Config{})
	out := g.alloc(8)
	for id := range uint64(4) {
		g.must("clock_res_get", id, out)
		if res := g.u64(out); res == 0 || res > uint64(10*time.Millisecond) {
			t.Errorf("clock %d has a resolution of %d ns", id, res)
		}
	}
	g.want(errnoInval, "clock_res_get", 4, out)
	g.want(errnoFault, "clock_res_get", 0, guestMemory-1)
}

func BenchmarkClockTimeGet(b *testing.B) {
	for _, c := range []struct {
		name string
		id   uint64
	}{{"realtime", 0}, {"monotonic", 1}, {"process", 2}} {
		b.Run(c.name, func(b *testing.B) {
			g := newGuest(b, Config{})
			p := []uint64{c.id, 0, 64}
			b.ReportAllocs()
			for b.Loop() {
				p[0] = c.id
				if errno := g.clockTimeGet(g.mem, p); errno != errnoSuccess {
					b.Fatal(errno)
				}
			}
		})
	}
	b.Run("time.Now", func(b *testing.B) {
		for b.Loop() {
			if time.Now().IsZero() {
				b.Fatal("zero")
			}
		}
	})
}
