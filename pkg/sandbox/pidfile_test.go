package sandbox

import (
	"os"
	"path/filepath"
	"testing"
)

// A killed create leaves the temporary file; the next one is not to stumble over it.
func TestPIDFileAfterAKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "init.pid")
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), ".init.pid"), []byte("12"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writePIDFile(path, 4711); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "4711" {
		t.Errorf("the file holds %q, %v", got, err)
	}
	if rest, err := os.ReadDir(filepath.Dir(path)); err != nil || len(rest) != 1 {
		t.Errorf("left: %v, %v", rest, err)
	}
}
