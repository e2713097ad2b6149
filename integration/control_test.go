package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestPs(t *testing.T) {
	notOn(t, "crun", "1.8.1 prints pids only, and passes no options on")
	each(t, "sleep", "3600", func(t *testing.T, w workload, b *box) {
		b.begin()
		b.await("asleep")
		var pids []int
		must(t, json.Unmarshal([]byte(b.quiet("ps", "--format", "json", b.id).ok().stdout), &pids))
		want := 1
		if w.guest == "busybox" {
			want = 2 // the shell and its sleep
		}
		if len(pids) != want || !slices.Contains(pids, b.init) {
			t.Errorf("ps --format json: %v, want %d with %d among them", pids, want, b.init)
		}
		table := b.quiet("ps", b.id).ok()
		if lines := strings.Count(table.stdout, "\n"); lines != 1+want {
			t.Errorf("want a title and %d lines: %v", want, table)
		}
		table.says("UID", "PID", "CMD", fmt.Sprint(b.init), "sleep")
		// What follows the id are ps's options, also those that look like runw's.
		own := b.quiet("ps", b.id, "-e", "-o", "ppid,pid").ok()
		if fields := strings.Fields(own.stdout); len(fields) != 2+2*want || fields[1] != "PID" {
			t.Errorf("ps's own options: %v", own)
		}
		b.quiet("ps", b.id, "-o", "comm").exits(1).warns("couldn't find PID field in ps output")
		b.quiet("ps", "--format", "xml", b.id).exits(1).warns("invalid format option")
		b.quiet("delete", "--force", b.id).ok()
		b.wait()
	})
}

// ticks is the processor time that a process has used (proc(5): utime and stime).
func ticks(t *testing.T, pid int) string {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	must(t, err)
	_, rest, ok := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 13 {
		t.Fatalf("stat of %d: %q", pid, stat)
	}
	return fields[11] + "+" + fields[12]
}

func TestPauseResume(t *testing.T) {
	notOn(t, "crun", "1.8.1 pauses what is paused")
	for _, guest := range []string{"busybox", "c/probe"} {
		t.Run(guest, func(t *testing.T) {
			args := []string{"spin", "3600000"}
			if guest == "busybox" {
				args = []string{"sh", "-c", "while :; do :; done"}
			}
			b := newBox(t, guest, args...)
			b.begin()
			idle := ticks(t, b.init)
			if !eventually(30*time.Second, func() bool { return ticks(t, b.init) != idle }) {
				t.Fatal("does not run")
			}
			b.quiet("pause", b.id).ok()
			b.want("paused")
			before := ticks(t, b.init)
			time.Sleep(50 * time.Millisecond)
			if after := ticks(t, b.init); after != before {
				t.Errorf("paused, and used %s ticks, then %s", before, after)
			}
			b.quiet("pause", b.id).exits(1).warns("container not running")
			if res := b.quiet("delete", b.id); res.code == 0 {
				t.Errorf("deleted while paused: %v", res)
			}
			b.quiet("resume", b.id).ok()
			b.want(specs.StateRunning)
			if !eventually(10*time.Second, func() bool { return ticks(t, b.init) != before }) {
				t.Error("does not run after resume")
			}
			b.quiet("resume", b.id).exits(1).warns("container not paused")
			// A paused container can still be removed by force.
			b.quiet("pause", b.id).ok()
			b.quiet("delete", "--force", b.id).ok()
			b.wait()
			b.quiet("pause", b.id).exits(1).warns("does not exist")
			b.quiet("resume", b.id).exits(1).warns("does not exist")
		})
	}
}
