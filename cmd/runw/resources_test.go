package main

import (
	"strings"
	"testing"
)

func TestParseBytes(t *testing.T) {
	for in, want := range map[string]int64{
		"0": 0, "1024": 1024, "-1": -1, "1k": 1 << 10, "2M": 2 << 20, "1.5g": 3 << 29, "64 MiB": 64 << 20,
		"3tb": 3 << 40, "1P": 1 << 50, "7b": 7, "7 B": 7, ".5k": 512,
	} {
		if got, err := parseBytes(in); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "k", "-2", "1x", "1kk", "1kib2", "1e9", "0x10", "Inf", "nan", "1.2.3", "9999999p", "1  k", "1ki"} {
		if got, err := parseBytes(in); err == nil {
			t.Errorf("%q gave %d", in, got)
		}
	}
}

func TestReadResources(t *testing.T) {
	r, err := readResources(strings.NewReader(`{"memory":null,"pids":{"limit":7},"unified":{"memory.high":"1"}}`))
	if err != nil || r.Memory != nil || r.Pids == nil || *r.Pids.Limit != 7 || r.Unified["memory.high"] != "1" {
		t.Errorf("%+v, %v", r, err)
	}
	for in, want := range map[string]string{
		"": "empty file", "{": "unexpected EOF", `{"memory":7}`: "memory", `{"memory":{"limit":"7"}}`: "limit",
		`{"x":"` + strings.Repeat("x", maxResources) + `"}`: "unexpected EOF",
	} {
		if _, err := readResources(strings.NewReader(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: error is %v, want %q in it", in, err, want)
		}
	}
}
