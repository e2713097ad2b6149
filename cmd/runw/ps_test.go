package main

import (
	"strings"
	"testing"
)

func TestFilterPs(t *testing.T) {
	const table = "UID          PID    PPID CMD\nroot           7       1 sh -c sleep 9\nroot          77       7 sleep 9\n"
	cases := []struct {
		name, output string
		pids         []int
		want, fault  string
	}{
		{"some", table, []int{77}, "UID          PID    PPID CMD\nroot          77       7 sleep 9\n", ""},
		{"none", table, nil, "UID          PID    PPID CMD\n", ""},
		{"no column", "CMD\nsh\n", []int{7}, "", "couldn't find PID field in ps output"},
		{"nothing", "", []int{7}, "", "couldn't find PID field"},
		{"PPID is not PID", "PPID CMD\n1 sh\n", []int{1}, "", "couldn't find PID field"},
		{"short line", "CMD PID\nsh\n", []int{7}, "", `no PID field in the ps line "sh"`},
		{"space in a column", "CMD PID\nsh -c 7\n", []int{7}, "", "unable to parse pid"},
		{"no newline at the end", "PID\n7", []int{7}, "PID\n7\n", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			err := filterPs(&out, c.output, c.pids)
			switch {
			case c.fault != "":
				if err == nil || !strings.Contains(err.Error(), c.fault) {
					t.Errorf("error is %v, want %q in it", err, c.fault)
				}
			case err != nil:
				t.Error(err)
			case out.String() != c.want:
				t.Errorf("printed %q, want %q", out.String(), c.want)
			}
		})
	}
}
