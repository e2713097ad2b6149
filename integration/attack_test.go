package integration

import (
	"strings"
	"testing"
)

// A guest's arguments do not go through execve: none is too long for a program, and
// too many of them are refused before there is a container.
func TestHugeArguments(t *testing.T) {
	rows := []struct {
		name  string
		args  []string
		code  int
		warns string
	}{
		{"one longer than execve takes", []string{"args", strings.Repeat("x", 200_000)}, 0, ""},
		{"many", append([]string{"args"}, strings.Split(strings.Repeat("y,", 300_000), ",")...), 0, ""},
		{"more than config.json may hold", []string{"args", strings.Repeat("z", 16<<20)}, 1, "config.json: larger than"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			b := newBox(t, "c/probe", row.args...)
			res := b.run().exits(row.code).warns(row.warns)
			if row.code == 0 && !strings.Contains(res.stdout, row.args[1][:1]) {
				t.Errorf("the guest did not see its arguments: %.200s", res.stdout)
			}
		})
	}
}
