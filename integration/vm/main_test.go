package main

import (
	"io"
	"strings"
	"testing"
)

// What the machine's console says is what the command takes it for: a test that was
// skipped, failed, or not run at all is none that has passed.
func TestVerdict(t *testing.T) {
	rounds = []round{{"bare", runw, []string{"TestA", "TestB"}}, {"systemd", runc, []string{"TestA"}}}
	const good = "\x1b[2JVM-UP 9 s\nVM-RUN bare runw\n=== RUN TestA\n--- PASS: TestA (1.00s)\n    --- PASS: TestA/x (1.00s)\n--- PASS: TestB (0.10s)\n" +
		"VM-RUN systemd runc\n--- PASS: TestA (1.00s)\n    --- SKIP: TestA/module (0.00s)\nVM-EXIT 0\n"
	cases := []struct{ name, from, to, want string }{
		{"all passed", "", "", ""},
		{"never came up", "VM-UP", "panic", "did not come up"},
		{"failed", "PASS: TestB", "FAIL: TestB", "bare/runw/TestB: FAIL"},
		{"skipped", "PASS: TestA/x", "SKIP: TestA/x", "bare/runw/TestA/x: SKIP"},
		{"not run", "--- PASS: TestB (0.10s)\n", "", "bare/runw/TestB:"},
		{"other round", "VM-RUN systemd runc\n", "", "systemd/runc/TestA:"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			v, err := watch(strings.NewReader(strings.Replace(good, c.from, c.to, 1)), io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			if err := v.check(); (err != nil) != (c.want != "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
