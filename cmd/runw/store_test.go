package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/runw/runw/pkg/aot"
)

func TestStoreSize(t *testing.T) {
	for in, want := range map[string]int64{"": 0, "none": -1, "1": 1, "512M": 512 << 20, "1.5 GiB": 3 << 29} {
		if got, err := storeSize(in); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"0", "-1", "10%", "x", "None"} {
		if got, err := storeSize(in); err == nil {
			t.Errorf("%q gave %d", in, got)
		}
	}
}

func TestStoreAge(t *testing.T) {
	for in, want := range map[string]time.Duration{"": 0, "90m": 90 * time.Minute, "7d": 168 * time.Hour, "1h30m": 90 * time.Minute} {
		if got, err := storeAge(in); err != nil || got != want {
			t.Errorf("%q: %v, %v; want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"0s", "-1h", "7", "d", "-1d", "1d12h", "99999999d"} {
		if got, err := storeAge(in); err == nil {
			t.Errorf("%q gave %v", in, got)
		}
	}
}

func TestHumanBytes(t *testing.T) {
	for in, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 9949: "9.9 kB", 9960: "10 kB", 999_499: "999 kB", 999_500: "1.0 MB", 28_000_000: "28 MB", 5e15: "5000 TB"} {
		if got := humanBytes(in); got != want {
			t.Errorf("%d: %q, want %q", in, got, want)
		}
	}
}

func TestPrintEntries(t *testing.T) {
	at := time.Date(2026, 11, 24, 1, 2, 3, 0, time.UTC)
	entries := []aot.Entry{
		{Digest: strings.Repeat("a", 64), Engine: "wazero", Fingerprint: "wazero-v1", Size: 2_500_000, Uses: 3, LastUse: at, Created: at},
		{Digest: strings.Repeat("b", 64), Engine: "old", Fingerprint: "old-v0", Stale: true, Size: 10, Created: at},
	}
	for format, want := range map[string]string{
		"table": "MODULE             ENGINE           SIZE        USES        LAST USE               CREATED\n" +
			"aaaaaaaaaaaaaaaa   wazero-v1        2.5 MB      3           2026-11-24T01:02:03Z   2026-11-24T01:02:03Z\n" +
			"bbbbbbbbbbbbbbbb   old-v0 (stale)   10 B        0           never                  2026-11-24T01:02:03Z\n",
		"json": `[{"digest":"` + strings.Repeat("a", 64) + `","engine":"wazero","fingerprint":"wazero-v1","stale":false,"size":2500000,"uses":3,"lastUse":"2026-11-24T01:02:03Z","created":"2026-11-24T01:02:03Z"},` +
			`{"digest":"` + strings.Repeat("b", 64) + `","engine":"old","fingerprint":"old-v0","stale":true,"size":10,"uses":0,"created":"2026-11-24T01:02:03Z"}]` + "\n",
	} {
		var out bytes.Buffer
		if err := printEntries(&out, entries, format, false); err != nil || out.String() != want {
			t.Errorf("%s: %v, got\n%s", format, err, out.String())
		}
	}
	var out bytes.Buffer
	if err := printEntries(&out, nil, "json", false); err != nil || out.String() != "[]\n" {
		t.Errorf("nothing: %v, %q", err, out.String())
	}
}
