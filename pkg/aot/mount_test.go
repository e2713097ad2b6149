package aot

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A store that has become read-only still gives what it has.
func TestReadOnlyStoreHits(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	s := keyStore(t)
	path, other := moduleFile(t, wat(t, "exit7")), moduleFile(t, watText(t, `(module (func (export "_start")))`))
	want, _, _ := start(t, s, path)
	dir := s.dir.Name()
	if err := errors.Join(unix.Mount(dir, dir, "", unix.MS_BIND, ""), unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	ro, err := OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer ro.Close()
	if got, known, _ := start(t, ro, path); !known || got != want {
		t.Errorf("by its file: known %v, digest %s", known, got)
	}
	if a := ensure(t, ro, wat(t, "exit7")); !a.Cached || a.Digest != want {
		t.Errorf("by its content: %+v", a)
	}
	all, err := ro.List()
	if err != nil || len(all) != 1 || all[0].Uses != 1 {
		t.Errorf("listed %+v, %v; want one use, the one that could be counted", all, err)
	}
	if err := ro.Verify(false, func(c Checked) {
		if c.Err != nil {
			t.Error(c)
		}
	}); err != nil {
		t.Error(err)
	}
	if p, err := ro.Prune(PruneArgs{All: true, MaxSize: -1}); !errors.Is(err, unix.EROFS) || len(p.Removed) != 0 {
		t.Errorf("pruned %+v, %v; want a read-only file system", p, err)
	}
	// What it does not have lives in memory.
	warned := 0
	wasm, err := os.ReadFile(other)
	if err != nil {
		t.Fatal(err)
	}
	a, err := Ensure(context.Background(), EnsureArgs{Wasm: wasm, Store: ro, Warn: func(err error) {
		if warned++; !errors.Is(err, unix.EROFS) {
			t.Error(err)
		}
	}})
	if err != nil || a.Cached || warned != 1 {
		t.Errorf("another module: %+v, %v, %d warnings", a, err, warned)
	}
	a.File.Close()
}

// A full disk: hits work, misses live in memory, and nothing half written is
// left; pruning needs no space.
func TestFullStore(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	dir := filepath.Join(t.TempDir(), "aot")
	if err := errors.Join(os.Mkdir(dir, 0o700), unix.Mount("none", dir, "tmpfs", 0, "size=2m,mode=0700")); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	s, err := OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.MaxSize = -1
	wasm := wat(t, "exit7")
	ensure(t, s, wasm)
	module := filepath.Join(dir, "m.wasm")
	if err := os.WriteFile(module, wasm, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(module)
	if err != nil {
		t.Fatal(err)
	}
	if s.Witness(f, false) != nil {
		t.Error("a file of a tmpfs is known by its times")
	}
	f.Close()
	if err := os.Remove(module); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ballast"), make([]byte, 4<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	if a := ensure(t, s, wasm); !a.Cached {
		t.Error("no hit in a full store")
	}
	s.remember(inSet(1), keyed{[32]byte{1}, 1})
	if k, ok := s.recall(inSet(1)); ok && k.length != 1 {
		t.Errorf("recalled %v", k)
	}
	var warned []string
	a, err := Ensure(context.Background(), EnsureArgs{Wasm: slowModule(t, 1), Store: s, Warn: func(err error) { warned = append(warned, err.Error()) }})
	if err != nil || a.Cached || len(warned) != 1 || !strings.Contains(warned[0], "no space left") {
		t.Errorf("a miss: %+v, %v, %q", a, err, warned)
	}
	a.File.Close()
	if entries, rest := leftovers(t, s); len(entries) != 1 || len(rest) != 1 {
		t.Errorf("there are %v and %v, want one entry and the ballast", entries, rest)
	}
	if p, err := s.Prune(PruneArgs{UnusedFor: time.Nanosecond, MaxSize: -1}); err != nil || len(p.Removed) != 1 {
		t.Errorf("pruned %+v, %v", p, err)
	}
}
