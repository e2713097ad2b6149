package ggml

import (
	"context"
	"os"
	"runtime"
	"testing"

	"github.com/runw/runw/pkg/accel"
)

// TestPool has several contexts compute in turns with the threads of one pool.
func TestPool(t *testing.T) {
	if runtime.GOMAXPROCS(0) < 2 {
		t.Skip("one processor: there is no pool")
	}
	b := backend(t)
	threads := -1
	for _, config := range []string{`{"threads":2,"n-predict":5}`, `{"threads":1,"threads-batch":2,"n-predict":5}`} {
		g, err := b.Load(context.Background(), accel.Model{Files: []*os.File{modelFile(t, successor(t))}, Config: []byte(config)})
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			c, err := g.NewContext()
			if err != nil {
				t.Fatal(err)
			}
			input(t, c, 0, "abc")
			if err := c.Compute(context.Background()); err != nil {
				t.Fatal(err)
			}
			if got := output(t, c, 0); got != "defgh" {
				t.Errorf("%s: %q", config, got)
			}
			defer c.Close()
		}
		g.Close()
		if b.threads == 0 {
			t.Fatalf("%s: no pool", config)
		}
		if threads == -1 {
			threads = int(b.threads)
		} else if threads != int(b.threads) {
			t.Errorf("%s: another pool", config)
		}
	}
}
