package hostfuncs

import (
	"bufio"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// procGuard keeps the guest from processes on a procfs: below /proc/<pid> the
// engine's memory, environment, program and descriptors lie open to itself, and
// whatever the guest opens the engine opens. The rest of a procfs (meminfo,
// sys, …) is for everybody.
//
// What counts is where the opened object is, not how the path to it read. The
// kernel's own name of it (the link in /proc/self/fd) has the pid in it, unless
// a directory of a process is mounted somewhere; then the root of that mount
// has, in mountinfo. So an object of a procfs passes if neither its name nor
// the root of its mount has a component of digits only, and if both are known.
// The mount is found by its id and not by comparing paths: a guest may rename
// the directory that a mount point is in, and could make one mount look like
// another. Names like /proc/irq/7 are refused along with the processes.
//
// The mount table is read when an object first could be on a procfs: most
// guests never ask for one, and reading takes as long as opening a module.
type procGuard struct {
	loaded bool
	// fdDir is this process's /proc/self/fd, O_PATH; -1 if there is none, and
	// then everything on a procfs is refused.
	fdDir int
	// roots has the root of each procfs mount by its id.
	roots map[uint64]string
	// devices says of file systems without a block device whether they are a
	// procfs. A guest cannot mount, so the answer stays true.
	devices map[uint64]bool
}

// maxDevices bounds the memory of procGuard.devices; overlayfs and btrfs have
// one number a layer or subvolume.
const maxDevices = 256

func newProcGuard() procGuard {
	return procGuard{fdDir: -1, roots: map[uint64]string{}, devices: map[uint64]bool{}}
}

// load reads the mount table as it is now, once. It never fails: what it cannot
// find out is refused.
func (g *procGuard) load() {
	if g.loaded {
		return
	}
	g.loaded = true
	table, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return
	}
	defer table.Close()
	if !isProcfs(int(table.Fd())) || g.readMounts(table) != nil {
		return
	}
	fd, err := unix.Open("/proc/self/fd", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	g.fdDir = fd
	// An image could bring a directory of that name, or somebody mount another
	// process's there; only the true one lists this descriptor as itself.
	if name, ok := g.name(fd); !ok || !isProcfs(fd) || !strings.HasSuffix(name, "/fd") {
		g.close()
	}
}

func (g *procGuard) close() {
	if g.fdDir >= 0 {
		_ = unix.Close(g.fdDir)
	}
	g.fdDir, g.loaded = -1, true
}

// readMounts collects the procfs mounts of a mountinfo (proc(5)):
//
//	36 35 0:21 /root /mount/point options [tags…] - proc source options
func (g *procGuard) readMounts(r io.Reader) error {
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		before, after, ok := strings.Cut(s.Text(), " - ")
		fields := strings.Fields(before)
		if !ok || len(fields) < 5 {
			continue
		}
		major, minor, ok := strings.Cut(fields[2], ":")
		ma, err1 := strconv.ParseUint(major, 10, 32)
		mi, err2 := strconv.ParseUint(minor, 10, 32)
		id, err3 := strconv.ParseUint(fields[0], 10, 64)
		if !ok || err1 != nil || err2 != nil || err3 != nil {
			continue
		}
		proc := strings.HasPrefix(after, "proc ")
		if proc {
			g.roots[id] = fields[3]
		}
		g.devices[unix.Mkdev(uint32(ma), uint32(mi))] = proc
	}
	return s.Err()
}

func isProcfs(fd int) bool {
	var fs unix.Statfs_t
	return unix.Fstatfs(fd, &fs) == nil && fs.Type == unix.PROC_SUPER_MAGIC
}

// harmless says without a system call that st is on no procfs; false means that
// it may be.
func (g *procGuard) harmless(st *unix.Stat_t) bool {
	// procfs has no block device below it.
	if unix.Major(uint64(st.Dev)) != 0 {
		return true
	}
	g.load()
	proc, known := g.devices[uint64(st.Dev)]
	return known && !proc
}

// check refuses the open object fd with ACCES if it belongs to a process.
func (g *procGuard) check(fd int, st *unix.Stat_t) Errno {
	if g.harmless(st) {
		return errnoSuccess
	}
	if !g.devices[uint64(st.Dev)] {
		var fs unix.Statfs_t
		if err := unix.Fstatfs(fd, &fs); err != nil {
			return errnoAcces
		}
		proc := fs.Type == unix.PROC_SUPER_MAGIC
		if len(g.devices) < maxDevices {
			g.devices[uint64(st.Dev)] = proc
		}
		if !proc {
			return errnoSuccess
		}
	}
	if g.publicObject(fd) {
		return errnoSuccess
	}
	return errnoAcces
}

// publicObject says that fd, which is on a procfs, belongs to no process.
func (g *procGuard) publicObject(fd int) bool {
	name, ok := g.name(fd)
	if !ok || name[0] != '/' || hasNumber(name) {
		return false
	}
	// The mark of a process that has ended, or of a detached mount.
	if strings.HasSuffix(name, " (deleted)") {
		return false
	}
	var st unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st)
	if err == nil && st.Mask&unix.STATX_MNT_ID != 0 {
		root, known := g.roots[st.Mnt_id]
		return known && !hasNumber(root)
	}
	// Before Linux 5.8 the mount is not known: then no mount may have a
	// directory of a process as its root.
	for _, root := range g.roots {
		if hasNumber(root) {
			return false
		}
	}
	return len(g.roots) > 0
}

// name is the kernel's path of an open object.
func (g *procGuard) name(fd int) (string, bool) {
	g.load()
	if g.fdDir < 0 {
		return "", false
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(g.fdDir, strconv.Itoa(fd), buf)
	if err != nil || n == 0 || n == len(buf) {
		return "", false
	}
	return string(buf[:n]), true
}

// hasNumber says whether a component of path has nothing but digits.
func hasNumber(path string) bool {
	for name := range strings.SplitSeq(path, "/") {
		if name != "" && strings.Trim(name, "0123456789") == "" {
			return true
		}
	}
	return false
}

// setTimes is utimensat(2) for an O_PATH descriptor. Before Linux 5.8 it knows
// no AT_EMPTY_PATH; the descriptor's link in /proc leads to the same file, and
// to a symlink itself.
func (g *procGuard) setTimes(fd int, ts *[2]unix.Timespec) Errno {
	err := unix.UtimesNanoAt(fd, "", ts[:], unix.AT_EMPTY_PATH)
	if err == unix.EINVAL {
		g.load()
	}
	if err == unix.EINVAL && g.fdDir >= 0 {
		err = unix.UtimesNanoAt(g.fdDir, strconv.Itoa(fd), ts[:], 0)
	}
	return errnoOf(err)
}
