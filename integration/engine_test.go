package integration

import (
	"cmp"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
)

// engines asks runw which it has, best first.
func engines(t *testing.T) []string {
	t.Helper()
	b := newBox(t, "busybox")
	var features struct {
		Annotations map[string]string `json:"annotations"`
	}
	must(t, json.Unmarshal([]byte(b.quiet("features").ok().stdout), &features))
	return strings.Split(features.Annotations["run.runw.engines"], ",")
}

// The Makefile runs these tests once for each engine, by RUNW_ENGINE: the rows have to run on
// that one, and without it on the best.
func TestEngineOfTheseTests(t *testing.T) {
	needRunw(t)
	want := cmp.Or(os.Getenv("RUNW_ENGINE"), engines(t)[0])
	b := newBox(t, "wat/tiny")
	b.global = []string{"--debug"}
	r := b.run()
	if r.code != 0 || !strings.Contains(r.stderr, " for "+want+",") {
		t.Errorf("exit code %d, want 0 on %s: %s", r.code, want, r.stderr)
	}
}

// The annotation comes before the flag, the flag before the environment.
func TestEngineChoice(t *testing.T) {
	needRunw(t)
	all := engines(t)
	for _, c := range []struct {
		name, env, flag, annotation, want string
	}{
		{"the best", "", "", "", all[0]},
		{"auto", "auto", "auto", "auto", all[0]},
		{"environment", "wazero", "", "", "wazero"},
		{"flag", all[0], "wazero", "", "wazero"},
		{"annotation", all[0], all[0], "wazero", "wazero"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBox(t, "wat/tiny")
			b.env = slices.DeleteFunc(b.env, func(kv string) bool { return strings.HasPrefix(kv, "RUNW_ENGINE=") })
			if c.env != "" {
				b.env = append(b.env, "RUNW_ENGINE="+c.env)
			}
			b.global = []string{"--debug"}
			if c.flag != "" {
				b.global = append(b.global, "--engine", c.flag)
			}
			if c.annotation != "" {
				b.Spec.Annotations = map[string]string{"run.runw.engine": c.annotation}
			}
			if r := b.run(); r.code != 0 || !strings.Contains(r.stderr, " for "+c.want+",") {
				t.Errorf("exit code %d, want 0 on %s: %s", r.code, c.want, r.stderr)
			}
		})
	}
}
