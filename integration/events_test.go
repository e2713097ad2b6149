package integration

import (
	"cmp"
	"encoding/json"
	"os"
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
		Wasm *struct {
			Engine      string
			MemoryBytes uint64 `json:"memory_bytes"`
			HostCalls   uint64 `json:"host_calls"`
		}
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

// Of a module there is more to tell: its engine, its memory, and its calls as they go on.
func TestEventsWasm(t *testing.T) {
	needRunw(t)
	want := cmp.Or(os.Getenv("RUNW_ENGINE"), engines(t)[0])
	stats := func(b *box) event {
		t.Helper()
		list := events(t, b.quiet("events", "--stats", b.id).ok().stdout)
		if len(list) != 1 {
			t.Fatalf("%d events", len(list))
		}
		return list[0]
	}

	held := newBox(t, "c/probe", "hold", "32")
	held.create().ok()
	if w := stats(held).Data.Wasm; w == nil || w.Engine != want || w.HostCalls != 0 {
		t.Errorf("created: %+v", w)
	}
	held.quiet("start", held.id).ok()
	held.await("asleep")
	first := stats(held).Data.Wasm
	if first == nil || first.Engine != want || first.MemoryBytes < 32<<20 || first.MemoryBytes > 40<<20 || first.MemoryBytes%(64<<10) != 0 || first.HostCalls == 0 {
		t.Fatalf("holds 32 MiB: %+v", first)
	}
	// Another module in there does not count, and nobody hears of the label.
	held.exec("/app.wasm", "hello").ok()
	held.quiet("pause", held.id).ok()
	if second := stats(held).Data.Wasm; second == nil || *second != *first {
		t.Errorf("asleep, %+v became %+v", first, second)
	}
	held.quiet("state", held.id).ok().says("!runw.wasm", "!annotations")
	held.end()

	busy := newBox(t, "c/probe", "spin", "3600000")
	busy.begin()
	calls := func() uint64 { return stats(busy).Data.Wasm.HostCalls }
	if before := calls(); !eventually(20*time.Second, func() bool { return calls() > before }) {
		t.Errorf("spins, and has made %d calls", before)
	}
	busy.end()

	// A program has no such figures, whatever its annotations say.
	native := host(t, "busybox", func(b *box) { b.Spec.Annotations = map[string]string{"runw.wasm:" + want + ":1:1": "x"} })
	if w := stats(native).Data.Wasm; w != nil {
		t.Errorf("busybox: %+v", w)
	}
	native.quiet("events", "--stats", native.id).ok().says(`!"wasm"`)
	native.end()
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
