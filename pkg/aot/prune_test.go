package aot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/runw/runw/pkg/hostfuncs/abi"
	"golang.org/x/sys/unix"
)

const deadEngine = "wazero-v0.0.1-none"

// fakeEntry puts size bytes as the entry n, made and last used so long ago; a
// negative time is never.
func fakeEntry(t *testing.T, s *Store, fingerprint string, n, size int, made, used time.Duration) {
	t.Helper()
	sh, err := s.shelf(fingerprint)
	if err != nil {
		t.Fatal(err)
	}
	defer sh.close()
	path := filepath.Join(sh.dir.Name(), fakeDigest(n))
	put := func(path string, size int, ago time.Duration) {
		at := time.Now().Add(-ago)
		if err := errors.Join(os.WriteFile(path, make([]byte, size), 0o600), os.Chtimes(path, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	put(path, size, made)
	if used >= 0 {
		put(path+usesSuffix, n, used)
	}
}

func fakeDigest(n int) string { return fmt.Sprintf("%064x", n) }

func here() string { return (&wazeroEngine{}).fingerprint() }

func remaining(t *testing.T, s *Store) (out []int) {
	t.Helper()
	all, err := s.List()
	if err != nil {
		t.Error(err)
	}
	for _, e := range all {
		var n int
		fmt.Sscanf(e.Digest, "%x", &n)
		out = append(out, n)
	}
	return out
}

func TestPrune(t *testing.T) {
	if here() == "" {
		t.Skip("wazero makes no native code here")
	}
	for name, c := range map[string]struct {
		args PruneArgs
		want []int // what stays, last used first
	}{
		"no rule":          {PruneArgs{MaxSize: -1}, []int{3, 1, 2, 5, 4}},
		"all":              {PruneArgs{MaxSize: -1, All: true}, nil},
		"stale":            {PruneArgs{MaxSize: -1, Stale: true}, []int{3, 1, 2}},
		"age":              {PruneArgs{MaxSize: -1, MaxAge: 5 * time.Hour}, []int{1, 2, 5}},
		"unused":           {PruneArgs{MaxSize: -1, UnusedFor: 150 * time.Minute}, []int{3, 1}},
		"size":             {PruneArgs{MaxSize: 500}, []int{3, 1}},
		"size, exactly":    {PruneArgs{MaxSize: 600}, []int{3, 1, 2}},
		"size 0":           {PruneArgs{MaxSize: 0}, nil},
		"size and age":     {PruneArgs{MaxSize: 500, MaxAge: 5 * time.Hour}, []int{1, 2}},
		"of an engine":     {PruneArgs{MaxSize: 0, Engine: "wasmtime"}, []int{3, 1, 2, 4}},
		"of no engine":     {PruneArgs{MaxSize: 0, Engine: "was"}, []int{3, 1, 2, 5, 4}},
		"nothing is done":  {PruneArgs{MaxSize: -1, All: true, DryRun: true}, []int{3, 1, 2, 5, 4}},
		"engine and stale": {PruneArgs{MaxSize: -1, Engine: "wazero", Stale: true}, []int{3, 1, 2, 5}},
	} {
		t.Run(name, func(t *testing.T) {
			s := testStore(t)
			fakeEntry(t, s, here(), 1, 100, 4*time.Hour, 2*time.Hour)
			fakeEntry(t, s, here(), 2, 200, 3*time.Hour, -1)
			fakeEntry(t, s, here(), 3, 300, 9*time.Hour, time.Hour)
			fakeEntry(t, s, deadEngine, 4, 400, 8*time.Hour, 6*time.Hour)
			fakeEntry(t, s, "wasmtime-0.0-none", 5, 500, 4*time.Hour, -1)
			before := remaining(t, s)
			p, err := s.Prune(c.args)
			if err != nil {
				t.Fatal(err)
			}
			if got := remaining(t, s); !slices.Equal(got, c.want) {
				t.Errorf("of %v there stay %v, want %v", before, got, c.want)
			}
			if bytes := int64(0); !c.args.DryRun {
				for _, e := range p.Removed {
					bytes += e.Size
				}
				if len(p.Removed) != len(before)-len(c.want) || bytes != p.Bytes || p.Leftovers != 0 {
					t.Errorf("says %+v", p)
				}
			}
			_, err = os.Stat(filepath.Join(s.dir.Name(), deadEngine))
			if gone := errors.Is(err, fs.ErrNotExist); gone == slices.Contains(c.want, 4) {
				t.Errorf("directory of a dead engine: %v", err)
			}
		})
	}
}

func TestPruneLeftovers(t *testing.T) {
	s := testStore(t)
	fakeEntry(t, s, deadEngine, 1, 100, 0, 0)
	sh, err := s.shelf(deadEngine)
	if err != nil {
		t.Fatal(err)
	}
	defer sh.close()
	for _, n := range []string{fakeDigest(2) + tempSuffix, fakeDigest(3) + lockSuffix, fakeDigest(4) + usesSuffix} {
		if err := os.WriteFile(filepath.Join(sh.dir.Name(), n), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	unlock, err := sh.lock(context.Background(), fakeDigest(1))
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.Prune(PruneArgs{All: true, MaxSize: -1})
	if err != nil || len(p.Removed) != 0 || len(p.Busy) != 1 || p.Leftovers != 3 {
		t.Errorf("with a lock held: %+v, %v", p, err)
	}
	unlock()
	if p, err = s.Prune(PruneArgs{All: true, MaxSize: -1}); err != nil || len(p.Removed) != 1 {
		t.Errorf("after the unlock: %+v, %v", p, err)
	}
	if names := namesIn(s.dir); len(names) != 0 {
		t.Errorf("there stay %v", names)
	}
}

// Who publishes makes room, but not of what it has just made.
func TestStoreIsBounded(t *testing.T) {
	s := testStore(t)
	s.MaxSize = 10_000_000
	for i := 1; i < 10; i++ {
		fakeEntry(t, s, deadEngine, i, 1_000_000, time.Hour, time.Duration(i)*time.Minute)
	}
	ensure(t, s, slowModule(t, 1)) // some 100 kB more
	if n := len(remaining(t, s)); n != 10 {
		t.Errorf("%d entries below the bound, want 10", n)
	}
	fakeEntry(t, s, deadEngine, 10, 1_000_000, time.Hour, 10*time.Minute)
	wasm := slowModule(t, 2)
	ensure(t, s, wasm)
	got := remaining(t, s)
	if len(got) != 10 || slices.Contains(got, 9) || slices.Contains(got, 10) || !slices.Contains(got, 8) {
		t.Errorf("there stay %v, want 1 to 8 and two more", got)
	}
	s.MaxSize = 1
	if ensure(t, s, wasm); len(remaining(t, s)) != 10 {
		t.Error("a hit removed entries")
	}
	a := ensure(t, s, slowModule(t, 3))
	if all, err := s.List(); err != nil || len(all) != 1 || all[0].Digest != a.Digest {
		t.Fatalf("there stay %v, want %s alone", all, a.Digest)
	}
	all, err := s.List()
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	if _, err := s.Prune(PruneArgs{All: true, MaxSize: -1}); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		fakeEntry(t, s, deadEngine, i, 1000, time.Hour, time.Hour)
	}
	s.MaxSize = all[0].Size + 5000 // the next one is as large
	ensure(t, s, slowModule(t, 4))
	if all, err = s.List(); err != nil || len(all) != 1 {
		t.Errorf("beside an entry that fills the store there stay %v (%v)", all, err)
	}
	s.MaxSize = -1
	ensure(t, s, wasm)
	if n := len(remaining(t, s)); n != 2 {
		t.Errorf("%d entries without a bound, want 2", n)
	}
}

func TestLimit(t *testing.T) {
	s := testStore(t)
	if n := s.Limit(); n <= 0 || n > defaultMaxSize {
		t.Errorf("the default is %d", n)
	}
	s.MaxSize = -1
	if n := s.Limit(); n != -1 {
		t.Errorf("no bound is %d", n)
	}
}

// A container keeps what it was given.
func TestPrunedArtifactStaysUsable(t *testing.T) {
	s, wasm := testStore(t), wat(t, "exit7")
	a := ensure(t, s, wasm)
	if _, err := s.Prune(PruneArgs{All: true, MaxSize: -1}); err != nil {
		t.Fatal(err)
	}
	m := open(t, OpenArgs{Wasm: wasm, Artifact: a.File})
	if err := m.Run(context.Background(), RunArgs{Funcs: []abi.Func{procExit}}); err == nil || err.Error() != "exit status 7" {
		t.Errorf("got %v", err)
	}
}

func TestPruneWhileStarting(t *testing.T) {
	s := keyStore(t)
	var modules []string
	for i := range 4 {
		modules = append(modules, moduleFile(t, watText(t, fmt.Sprintf(`(module (func (export "_start") i32.const %d drop))`, i))))
	}
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			rnd := rand.New(rand.NewSource(int64(i)))
			for range 12 {
				if i%8 == 0 {
					if _, err := s.Prune(PruneArgs{MaxSize: -1, All: true}); err != nil {
						t.Error(err)
					}
					continue
				}
				path := modules[rnd.Intn(len(modules))]
				wasm, err := os.ReadFile(path)
				if err != nil {
					t.Error(err)
					return
				}
				want, _, _ := start(t, s, path)
				a, err := Ensure(context.Background(), EnsureArgs{Wasm: wasm, Store: s, Warn: noWarn(t)})
				if err != nil || a.Digest != want {
					t.Errorf("%s, %v: want %s", a.Digest, err, want)
					return
				}
				m, err := mapFile(a.File, 0)
				if err != nil {
					t.Error(err)
					return
				}
				if art, err := decodeArtifact(m.b); err != nil || art.verify() != nil {
					t.Errorf("what was given out is damaged: %v", err)
				}
				m.close()
				a.File.Close()
			}
		})
	}
	wg.Wait()
	if err := s.Verify(false, func(c Checked) {
		if c.Err != nil {
			t.Errorf("%s: %v", c.Path, c.Err)
		}
	}); err != nil {
		t.Error(err)
	}
	if _, rest := leftovers(t, s); len(rest) != 0 {
		t.Errorf("there stays %v", rest)
	}
}

func TestUses(t *testing.T) {
	s, wasm := testStore(t), wat(t, "exit7")
	if _, err := Ensure(context.Background(), EnsureArgs{Wasm: wasm, Store: s, Warm: true, Warn: noWarn(t)}); err != nil {
		t.Fatal(err)
	}
	if all, err := s.List(); err != nil || len(all) != 1 || all[0].Uses != 0 || !all[0].LastUse.IsZero() {
		t.Fatalf("after warming: %+v, %v", all, err)
	}
	begin := time.Now()
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { ensure(t, s, wasm) })
	}
	wg.Wait()
	all, err := s.List()
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	e := all[0]
	if e.Uses != 50 || e.LastUse.Before(begin.Add(-time.Second)) || e.Stale || e.Size == 0 || e.Engine != testEngines()[0] {
		t.Errorf("after 50 uses: %+v", e)
	}
}

// The count takes no more space the larger it is.
func TestUsesAreSmall(t *testing.T) {
	s := testStore(t)
	sh, err := s.shelf("x")
	if err != nil {
		t.Fatal(err)
	}
	defer sh.close()
	path := filepath.Join(sh.dir.Name(), fakeDigest(1)+usesSuffix)
	if err := os.WriteFile(path, make([]byte, usesPunch-1), 0o600); err != nil {
		t.Fatal(err)
	}
	sh.used(fakeDigest(1))
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil || st.Blocks != 0 {
		t.Errorf("%d blocks of 512 bytes, %v", st.Blocks, err)
	}
	sh.used(fakeDigest(1))
	if n, _ := sh.uses(fakeDigest(1)); n != usesPunch+1 {
		t.Errorf("%d uses, want %d", n, usesPunch+1)
	}
}

// What is no entry must not hold a list up.
func TestListOddFiles(t *testing.T) {
	s := testStore(t)
	fakeEntry(t, s, deadEngine, 1, 10, 0, 0)
	dir := filepath.Join(s.dir.Name(), deadEngine)
	if err := errors.Join(
		unix.Mkfifo(filepath.Join(dir, fakeDigest(2)), 0o600), os.Mkdir(filepath.Join(dir, fakeDigest(3)), 0o700),
		os.Symlink("/", filepath.Join(dir, fakeDigest(4))), os.Symlink("/", filepath.Join(s.dir.Name(), "wazero-link")),
		unix.Mkfifo(filepath.Join(dir, fakeDigest(1)+lockSuffix), 0o600), os.Mkdir(filepath.Join(s.dir.Name(), "open"), 0o700),
		os.Chmod(filepath.Join(s.dir.Name(), "open"), 0o777),
	); err != nil {
		t.Fatal(err)
	}
	all, err := s.List()
	if len(all) != 1 || all[0].Digest != fakeDigest(1) {
		t.Errorf("listed %v", all)
	}
	if !errors.Is(err, ErrUnsafeStore) {
		t.Errorf("of a directory open to all: %v", err)
	}
	p, err := s.Prune(PruneArgs{All: true, MaxSize: -1})
	if !errors.Is(err, ErrUnsafeStore) || len(p.Removed) != 1 {
		t.Errorf("pruned %+v, %v", p, err)
	}
}
