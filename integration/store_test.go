package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// storeBox is a box with a store of its own.
func storeBox(t *testing.T, store, guest string, args ...string) *box {
	t.Helper()
	needRunw(t)
	b := newBox(t, guest, args...)
	b.env = append(b.env, "RUNW_AOT_DIR="+store)
	return b
}

type storeEntry struct {
	Digest, Engine, Fingerprint string
	Stale                       bool
	Size, Uses                  int64
	LastUse, Created            time.Time
}

func (b *box) entries() []storeEntry {
	b.t.Helper()
	var list []storeEntry
	must(b.t, json.Unmarshal([]byte(b.quiet("aot", "ls", "--format", "json").ok().stdout), &list))
	return list
}

// The store's commands, one after the other, as an administrator would call them.
func TestStoreCommands(t *testing.T) {
	store := newStore(t)
	b := storeBox(t, store, "wat/probe")
	module, bad := b.Path("app.wasm"), b.write("bad.wasm", "\x00asm\x01\x00\x00\x00\x03\x02")
	must(t, b.Write())
	if list := b.entries(); list == nil || len(list) != 0 {
		t.Errorf("an empty store lists %v", list)
	}
	res := b.quiet("aot", "compile", bad, module, b.write("empty", ""), "/nosuch", b.Dir).exits(1)
	res.says(bad+": malformed WebAssembly module", module+"  ", "compiled in ", "empty: is empty", "/nosuch: no such file or directory", b.Dir+"  ", "was there")
	res.warns("aot compile: 3 of 5 modules were not compiled")
	if lines := strings.Count(res.stdout, "\n"); lines != 5 || strings.ContainsAny(res.stdout, "\r\x1b") {
		t.Errorf("not a plain line for each module: %q", res.stdout)
	}
	list := b.entries()
	if len(list) != 1 || list[0].Uses != 0 || !list[0].LastUse.IsZero() || list[0].Stale || list[0].Size == 0 || len(list[0].Digest) != 64 {
		t.Fatalf("after compile: %+v", list)
	}
	b.run().ok().says("hello from WAT")
	if list = b.entries(); list[0].Uses != 1 || time.Since(list[0].LastUse) > time.Hour {
		t.Errorf("after a run: %+v", list)
	}
	b.quiet("aot", "ls").ok().says("MODULE", list[0].Digest[:16], list[0].Fingerprint)
	if got := b.quiet("aot", "ls", "--quiet").ok().stdout; got != list[0].Digest+"\n" {
		t.Errorf("ls --quiet prints %q", got)
	}
	if got := b.quiet("aot", "verify").ok(); got.stdout+got.stderr != "" {
		t.Errorf("verify of a sound store: %v", got)
	}
	entry := filepath.Join(store, list[0].Fingerprint, list[0].Digest)
	flip(t, entry, 16)
	b.quiet("aot", "verify").exits(1).says(list[0].Digest + ": artifact is damaged").warns("1 of 1 entries are bad")
	b.quiet("aot", "verify", "--remove").exits(1).says("(removed)")
	b.quiet("aot", "verify").ok()
	b.run().ok().says("hello from WAT")
	b.quiet("aot", "prune", "--unused-for", "1h", "--max-age", "7d").ok().says("removed 0 entries")
	b.quiet("aot", "prune", "--all", "--dry-run").ok().says("would remove " + list[0].Digest[:16])
	b.quiet("aot", "prune", "--max-size", "0").ok().says("removed "+list[0].Digest[:16], "removed 1 entries")
	if list = b.entries(); len(list) != 0 {
		t.Errorf("after prune: %+v", list)
	}
}

func flip(t *testing.T, path string, at int64) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	defer file.Close()
	b := []byte{0}
	_, err = file.ReadAt(b, at)
	must(t, err)
	b[0] ^= 0xff
	_, err = file.WriteAt(b, at)
	must(t, err)
}

// A damaged entry costs a compile, also where the module is known by its file.
func TestStoreDamage(t *testing.T) {
	store := newStore(t)
	b := storeBox(t, store, "wat/probe")
	b.run().ok()
	for _, at := range []int64{0, 16, 4096} {
		list := b.entries()
		flip(t, filepath.Join(store, list[0].Fingerprint, list[0].Digest), at)
		b.run().ok().says("hello from WAT")
		b.quiet("aot", "verify").ok()
	}
}

// Once it has lain still a module is known by its file, until somebody writes to it.
func TestStoreKnowsFiles(t *testing.T) {
	store := newStore(t)
	b := storeBox(t, store, "go/probe", "exit", "7")
	var fs unix.Statfs_t
	must(t, unix.Statfs(store, &fs))
	if kind := int64(fs.Type); kind != unix.EXT4_SUPER_MAGIC && kind != unix.XFS_SUPER_MAGIC && kind != unix.BTRFS_SUPER_MAGIC {
		t.Skipf("the store lies on a file system of type %#x, whose files are not known", kind)
	}
	b.global = []string{"--debug"}
	const known = "is known by its file"
	if res := b.run().exits(7); strings.Contains(res.stderr, known) {
		t.Errorf("known at the first start: %v", res)
	}
	if !eventually(commandTimeout, func() bool { return strings.Contains(b.run().exits(7).stderr, known) }) {
		t.Fatal("the module never became known")
	}
	// Another program in the same file, with the old times.
	path := b.Path("app.wasm")
	info, err := os.Stat(path)
	must(t, err)
	must(t, b.Add(build(t, "wat/tiny"), "app.wasm", 0o644))
	must(t, os.Chtimes(path, info.ModTime(), info.ModTime()))
	if res := b.run().ok(); strings.Contains(res.stderr, known) {
		t.Errorf("known after it was written to: %v", res)
	}
	must(t, os.WriteFile(path, []byte("\x00asm\x01\x00\x00\x00\x03\x02"), 0o644))
	b.run().exits(1).warns("malformed WebAssembly module")
}

// On a terminal there is one line for each module, which shows what is being compiled.
func TestStoreCompileOnTerminal(t *testing.T) {
	b := storeBox(t, newStore(t), "wat/probe")
	must(t, b.Write())
	master, slave := openPty(t)
	defer master.Close()
	s := watch(master)
	cmd := b.command("aot", "compile", b.Path("app.wasm"), b.Dir)
	cmd.Stdout, cmd.Stderr = slave, slave
	code := exitCode(t, cmd.Run())
	must(t, slave.Close())
	s.await(t, "was there")
	<-s.done
	if text := s.String(); code != 0 || strings.Count(text, "\n") != 2 || strings.Count(text, " ...\r\x1b[K") != 2 || !strings.Contains(text, "compiled in") {
		t.Errorf("exit %d, terminal %q", code, text)
	}
}

// The commands refuse a store that others can write to.
func TestStoreCommandsRefuse(t *testing.T) {
	store := newStore(t)
	b := storeBox(t, store, "wat/tiny")
	link := store + "-link"
	must(t, os.Symlink(store, link))
	b.quiet("--aot-dir", link, "aot", "ls").exits(1).warns("refusing an unsafe artifact store", "symbolic link")
	must(t, os.Chown(store, 12345, 12345))
	b.quiet("aot", "verify").exits(1).warns("belongs to uid 12345")
	must(t, os.Chown(store, 0, 0))
	must(t, os.Chmod(store, 0o755))
	b.quiet("aot", "prune", "--all").exits(1).warns("accessible to others (mode 0755, want 0700)")
	b.quiet("aot", "compile", b.Path("app.wasm")).exits(1).warns("accessible to others")
}

// Starts while everything is pruned again and again; and a container that runs keeps its code.
func TestStorePruneWhileStarting(t *testing.T) {
	store := newStore(t)
	sleeper := storeBox(t, store, "wat/probe", "sleep", "3600")
	sleeper.begin()
	sleeper.await("asleep")
	stop := make(chan struct{})
	var pruning sync.WaitGroup
	pruning.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if out, err := sleeper.command("aot", "prune", "--all").CombinedOutput(); err != nil {
					t.Errorf("prune: %v: %s", err, out)
				}
			}
		}
	})
	var starting sync.WaitGroup
	for range 3 {
		b := storeBox(t, store, "wat/probe")
		must(t, b.Write())
		starting.Go(func() {
			for range 6 {
				out, err := b.command("run", "--bundle", b.Dir, b.id).CombinedOutput()
				if err != nil || string(out) != "hello from WAT\n" {
					t.Errorf("run: %v: %s", err, out)
				}
			}
		})
	}
	starting.Wait()
	close(stop)
	pruning.Wait()
	sleeper.quiet("aot", "verify").ok()
	sleeper.want("running")
	sleeper.quiet("kill", sleeper.id, "TERM").ok()
	if status := sleeper.wait(); status != 143 {
		t.Errorf("the sleeper ended with %d", status)
	}
}

// The store makes room by itself, of what was not used for the longest time.
func TestStoreBound(t *testing.T) {
	store := newStore(t)
	var oldest string
	for _, guest := range []string{"wat/probe", "wat/tiny", "wat/deep"} {
		b := storeBox(t, store, guest)
		b.quiet("aot", "compile", b.Path("app.wasm")).ok()
		if oldest == "" {
			oldest = b.entries()[0].Digest
		}
	}
	b := storeBox(t, store, "c/probe", "exit", "0")
	all := b.entries()
	if len(all) != 3 || all[2].Digest != oldest {
		t.Fatalf("without a bound: %+v", all)
	}
	size := int64(0)
	for _, e := range all {
		size += e.Size
	}
	b.env = append(b.env, fmt.Sprintf("RUNW_AOT_MAX_SIZE=%d", size))
	b.run().ok()
	left := b.entries()
	total := int64(0)
	for _, e := range left {
		total += e.Size
		if e.Digest == oldest {
			t.Errorf("the oldest is still there: %+v", left)
		}
	}
	if left[0].Uses != 1 || total > max(size, left[0].Size) {
		t.Errorf("%d bytes with a bound of %d: %+v", total, size, left)
	}
}
