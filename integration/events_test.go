package integration

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// event is what of a line of `events` the tests look at.
type event struct {
	Type, ID string
	Data     struct {
		CPU struct {
			Usage struct{ Total uint64 }
		}
		Memory struct {
			Usage struct{ Limit, Usage, Max uint64 }
		}
		Pids struct{ Current, Limit uint64 }
	}
}

func events(t *testing.T, output string) []event {
	t.Helper()
	var list []event
	for line := range strings.Lines(output) {
		var e event
		must(t, json.Unmarshal([]byte(line), &e))
		list = append(list, e)
	}
	return list
}

// The figures are those of the container's cgroup, for a module as for a program.
func TestEventsStats(t *testing.T) {
	notOn(t, "crun", "1.8.1 has no command events")
	for _, guest := range []string{"busybox", "c/probe"} {
		t.Run(guest, func(t *testing.T) {
			b := host(t, guest, func(b *box) {
				b.limit(specs.LinuxResources{
					Memory: &specs.LinuxMemory{Limit: pointer(int64(128 << 20))},
					Pids:   &specs.LinuxPids{Limit: pointer(int64(200))},
				})
			})
			list := events(t, b.quiet("events", "--stats", b.id).ok().stdout)
			if len(list) != 1 {
				t.Fatalf("%d events, want one", len(list))
			}
			e := list[0]
			if e.Type != "stats" || e.ID != b.id || e.Data.Memory.Usage.Limit != 128<<20 || e.Data.Memory.Usage.Usage == 0 ||
				e.Data.CPU.Usage.Total == 0 || e.Data.Pids.Limit != 200 || e.Data.Pids.Current == 0 {
				t.Errorf("stats: %+v", e)
			}
			b.quiet("events", "--interval", "0s", b.id).exits(1).warns("duration interval must be greater than 0")
			b.quiet("kill", b.id, "KILL").ok()
			b.wait()
			b.quiet("events", "--stats", b.id).exits(1).warns("is not running")
			b.quiet("delete", b.id).ok()
		})
	}
}

// Stats at each interval, a line when the kernel kills for lack of memory, and an end when
// the container is removed.
func TestEventsWatch(t *testing.T) {
	notOn(t, "crun", "1.8.1 has no command events")
	b := host(t, "busybox", func(b *box) {
		l := int64(32 << 20)
		b.limit(specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &l, Swap: &l}})
	})
	out := b.stream("events")
	defer out.Close()
	cmd := b.command("events", "--interval", "20ms", b.id)
	cmd.Stdout = out
	must(t, cmd.Start())
	stats := func() bool { return strings.Count(b.output("events"), `"type":"stats"`) >= 2 }
	if !eventually(20*time.Second, stats) {
		t.Fatalf("no stats: %q", b.output("events"))
	}
	b.exec("dd", "if=/dev/zero", "of=/dev/null", "bs=300M", "count=1").exits(137)
	if !eventually(20*time.Second, func() bool { return strings.Contains(b.output("events"), `"type":"oom"`) }) {
		t.Fatalf("no oom event: %q", b.output("events"))
	}
	b.end()
	if code := exitCode(t, cmd.Wait()); code != 0 {
		t.Errorf("exit code %d when the container is gone", code)
	}
	for _, e := range events(t, b.output("events")) {
		if e.ID != b.id || e.Type != "stats" && e.Type != "oom" {
			t.Errorf("event %+v", e)
		}
	}
}
