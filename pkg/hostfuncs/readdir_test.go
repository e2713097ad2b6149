package hostfuncs

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// guestDirent is a decoded witx dirent.
type guestDirent struct {
	next, ino uint64
	name      string
	kind      filetype
}

// decodeDirents takes apart what fd_readdir wrote, without a cut-off entry.
func decodeDirents(b []byte) []guestDirent {
	var list []guestDirent
	for len(b) >= direntSize {
		n := int(binary.LittleEndian.Uint32(b[16:]))
		if len(b) < direntSize+n {
			break
		}
		list = append(list, guestDirent{
			binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:]),
			string(b[direntSize : direntSize+n]), filetype(b[20]),
		})
		b = b[direntSize+n:]
	}
	return list
}

// readdir is one fd_readdir; last means the end of the directory.
func (g *guest) readdir(fd uint64, size int, cookie uint64) (list []guestDirent, last bool) {
	g.t.Helper()
	defer g.scratch()()
	buf, used := g.alloc(size), g.alloc(4)
	g.must("fd_readdir", fd, buf, uint64(size), cookie, used)
	n := g.u32(used)
	if n > uint32(size) {
		g.t.Fatalf("%d bytes used of %d", n, size)
	}
	return decodeDirents(g.bytes(buf, uint64(n))), n < uint32(size)
}

// list reads a whole directory with a buffer of size bytes.
func (g *guest) list(fd uint64, size int) map[string]guestDirent {
	g.t.Helper()
	names := map[string]guestDirent{}
	cookie := uint64(0)
	for {
		list, last := g.readdir(fd, size, cookie)
		for _, d := range list {
			if _, twice := names[d.name]; twice {
				g.t.Fatalf("%q was listed twice", d.name)
			}
			names[d.name] = d
			cookie = d.next
		}
		if last {
			return names
		}
		if len(list) == 0 {
			g.t.Fatalf("a buffer of %d bytes is too small for the next entry", size)
		}
	}
}

func TestFdReaddir(t *testing.T) {
	g, dir := newTree(t)
	hostFile(t, dir, "file", "")
	hostFile(t, dir, "dir/x", "")
	hostSymlink(t, "file", dir, "link")
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := map[string]filetype{
		".": filetypeDir, "..": filetypeDir, "file": filetypeRegular, "dir": filetypeDir,
		"link": filetypeSymlink, "fifo": filetypeUnknown,
	}
	for _, size := range []int{28, 29, 47, 64, 4096} {
		names := g.list(preFD, size)
		if len(names) != len(want) {
			t.Errorf("a buffer of %d bytes: %v", size, names)
		}
		for name, kind := range want {
			if names[name].kind != kind {
				t.Errorf("%s has type %d, want %d", name, names[name].kind, kind)
			}
		}
	}
	if s, _ := g.stat("file", false); g.list(preFD, 4096)["file"].ino != s.ino {
		t.Error("the inode is another than stat gives")
	}
	fd := g.mustOpen(openArgs{path: "file", rights: rightFdRead})
	buf := g.alloc(64)
	g.want(errnoNotdir, "fd_readdir", fd, buf, 64, 0, buf)
	g.want(errnoFault, "fd_readdir", preFD, guestMemory-8, 64, 0, buf)
	g.want(errnoFault, "fd_readdir", preFD, buf, 64, 0, guestMemory)
	g.want(errnoInval, "fd_readdir", preFD, buf, 64, 1<<63, buf)
	g.want(errnoBadf, "fd_readdir", 99, buf, 64, 0, buf)
	g.must("fd_fdstat_set_rights", preFD, rightsDir&^rightFdReaddir, 0)
	g.want(errnoNotcapable, "fd_readdir", preFD, buf, 64, 0, buf)
}

// TestFdReaddirMany: every name once, with any buffer, though names disappear
// behind the reader; the listing starts anew with cookie 0.
func TestFdReaddirMany(t *testing.T) {
	const files = 400
	for _, size := range []int{300, 4096, 60000} {
		g, dir := newTree(t)
		for i := range files {
			hostFile(t, dir, fmt.Sprintf("file-%d-%s", i, strings.Repeat("x", i%100)), "")
		}
		if n := len(g.list(preFD, size)); n != files+2 {
			t.Fatalf("a buffer of %d bytes lists %d of %d names", size, n, files+2)
		}
		seen, cookie := 0, uint64(0)
		for {
			list, last := g.readdir(preFD, size, cookie)
			for _, d := range list {
				cookie = d.next
				if d.kind == filetypeRegular {
					seen++
					if err := os.Remove(filepath.Join(dir, d.name)); err != nil {
						t.Fatal(err)
					}
				}
			}
			if last {
				break
			}
		}
		if seen != files {
			t.Errorf("a buffer of %d bytes: %d of %d names while removing", size, seen, files)
		}
		if n := len(g.list(preFD, size)); n != 2 {
			t.Errorf("%d names left", n)
		}
	}
}

// TestFdReaddirCookies: any cookie that was given out leads back to its place.
func TestFdReaddirCookies(t *testing.T) {
	g, dir := newTree(t)
	for i := range 500 {
		hostFile(t, dir, fmt.Sprintf("some-name-%d", i), "")
	}
	all, _ := g.readdir(preFD, 60000, 0)
	for _, i := range []int{400, 3, 499, 0, 250, 251, 100} {
		list, _ := g.readdir(preFD, 100, all[i].next)
		if len(list) == 0 || list[0].name != all[i+1].name {
			t.Errorf("the cookie of entry %d leads to %v, not %q", i, list, all[i+1].name)
		}
	}
	if list, last := g.readdir(preFD, 100, all[len(all)-1].next); len(list) != 0 || !last {
		t.Errorf("behind the last entry are %v", list)
	}
}

// TestFdReaddirShared: a directory that others have open too keeps its position.
func TestFdReaddirShared(t *testing.T) {
	dir := t.TempDir()
	hostFile(t, dir, "f", "")
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	g := newGuest(t, Config{Inherited: []int{fd}})
	before := openFDs(t)
	if n := len(g.list(3, 4096)); n != 3 {
		t.Errorf("%d names", n)
	}
	if pos, err := unix.Seek(fd, 0, unix.SEEK_CUR); pos != 0 || err != nil {
		t.Errorf("the shared position is %d, %v", pos, err)
	}
	g.must("fd_close", 3)
	if now := openFDs(t); now != before-1 {
		t.Errorf("%d descriptors before, %d after", before, now)
	}
}

// FuzzReaddir: whatever the buffer and the cookie, the bytes written are whole
// entries and one that is cut off, and stay inside of the buffer.
func FuzzReaddir(f *testing.F) {
	f.Add(uint16(0), uint64(0), uint64(1))
	f.Add(uint16(23), uint64(0), uint64(1<<63))
	f.Add(uint16(24), uint64(1), uint64(1<<62))
	f.Add(uint16(100), uint64(3), uint64(0))
	f.Add(uint16(5000), uint64(0), uint64(1<<31))
	dir := f.TempDir()
	for i := range 50 {
		hostFile(f, dir, strings.Repeat("n", i*5+1), "")
	}
	f.Fuzz(func(t *testing.T, size uint16, c1, c2 uint64) {
		g := newGuest(t, Config{Preopens: []Preopen{{Name: "/", Path: dir}}})
		buf, used := g.alloc(int(size)+1), g.alloc(4)
		for _, cookie := range []uint64{c1, c2, c1} {
			g.bytes(buf, uint64(size)+1)[size] = canary
			if errno := g.call("fd_readdir", preFD, buf, uint64(size), cookie, used); errno != errnoSuccess {
				continue
			}
			n := g.u32(used)
			if n > uint32(size) || g.bytes(buf, uint64(size)+1)[size] != canary {
				t.Fatalf("%d bytes used of %d", n, size)
			}
			whole := 0
			for _, d := range decodeDirents(g.bytes(buf, uint64(n))) {
				whole += direntSize + len(d.name)
				if d.name == "" || strings.Contains(d.name, "/") {
					t.Errorf("an entry is named %q", d.name)
				}
			}
			if whole != int(n) && n != uint32(size) {
				t.Errorf("%d bytes of %d are whole entries, and the buffer had %d", whole, n, size)
			}
		}
	})
}
