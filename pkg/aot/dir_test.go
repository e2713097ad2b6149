package aot

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOpenStoreRefuses(t *testing.T) {
	for _, c := range []struct {
		name  string
		root  bool
		setup func(dir string) (store string, err error)
		says  string
	}{
		{"relative", false, func(string) (string, error) { return "store", nil }, "not an absolute path"},
		{"symlink", false, func(d string) (string, error) {
			return d + "/link", errors.Join(os.Mkdir(d+"/real", 0o700), os.Symlink("real", d+"/link"))
		}, "is a symbolic link"},
		{"open to others", false, func(d string) (string, error) {
			return d + "/s", errors.Join(os.Mkdir(d+"/s", 0o700), os.Chmod(d+"/s", 0o750))
		}, "accessible to others"},
		{"ancestor writable", false, func(d string) (string, error) {
			return d + "/w/s", errors.Join(os.Mkdir(d+"/w", 0o700), os.Chmod(d+"/w", 0o777))
		}, "writable by others"},
		{"foreign", true, func(d string) (string, error) {
			return d + "/s", errors.Join(os.Mkdir(d+"/s", 0o700), os.Chown(d+"/s", 12345, 12345))
		}, "belongs to uid 12345"},
		{"foreign ancestor", true, func(d string) (string, error) {
			return d + "/a/s", errors.Join(os.Mkdir(d+"/a", 0o755), os.Chown(d+"/a", 12345, 12345))
		}, "belongs to uid 12345"},
		{"foreign symlink", true, func(d string) (string, error) {
			return d + "/l/s", errors.Join(os.Mkdir(d+"/a", 0o755), os.Symlink("a", d+"/l"), os.Lchown(d+"/l", 12345, 12345))
		}, "is a symbolic link"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.root {
				needRoot(t)
			}
			dir, err := c.setup(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			s, err := OpenStore(dir)
			if err == nil {
				s.Close()
				t.Fatal("accepted")
			}
			if !errors.Is(err, ErrUnsafeStore) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), dir) {
				t.Errorf("got %v, want ErrUnsafeStore with %q and the path", err, c.says)
			}
		})
	}
	t.Run("file", func(t *testing.T) {
		f := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(f, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenStore(f); !errors.Is(err, unix.ENOTDIR) {
			t.Errorf("got %v, want ENOTDIR", err)
		}
	})
}

func TestOpenStoreFollowsRootsLinks(t *testing.T) {
	needRoot(t)
	for _, target := range []string{"real", "./real", "../x/real", "ABS"} {
		d := filepath.Join(t.TempDir(), "x")
		if err := os.MkdirAll(d+"/real", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(strings.Replace(target, "ABS", d+"/real", 1), d+"/link"); err != nil {
			t.Fatal(err)
		}
		s, err := OpenStore(d + "/link/a/store")
		if err != nil {
			t.Fatalf("target %s: %v", target, err)
		}
		s.Close()
		st, err := os.Stat(d + "/real/a/store")
		if err != nil || st.Mode().Perm() != 0o700 {
			t.Errorf("target %s: store is %v, %v", target, st, err)
		}
	}
}
