package oci

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

var (
	kernelBundles = flag.Int("kernel.bundles", 200, "bundles for TestDetectAgreesWithKernel")
	kernelSeed    = flag.Uint64("kernel.seed", 1, "where its random bundles start")
)

var errNoContainer = errors.New("this bundle cannot be mounted")

// TestDetectAgreesWithKernel makes random hostile bundles, asks Detect, then really
// mounts them in a mount namespace of its own, goes into the root, and opens args[0]:
// both must have found the same file.
func TestDetectAgreesWithKernel(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a mount namespace needs root")
	}
	random := rand.New(rand.NewPCG(*kernelSeed, 0))
	var same, none, skipped int
	for i := range *kernelBundles {
		data := make([]byte, 20+random.IntN(140))
		for j := range data {
			data[j] = byte(random.Uint32())
		}
		dir, err := os.MkdirTemp(hostDir(t), "")
		if err != nil {
			t.Fatal(err)
		}
		c := choices(data)
		b := hostileBundle(t, dir, &c)
		w, err := Detect(b)
		if err != nil {
			t.Fatalf("bundle %d: %v", i, err)
		}
		var found unix.Stat_t
		if w.Module != nil {
			if err := unix.Fstat(int(w.Module.Fd()), &found); err != nil {
				t.Fatal(err)
			}
			w.Module.Close()
		}
		want, err := asMounted(b)
		switch {
		case errors.Is(err, errNoContainer):
			skipped++
		case err != nil:
			t.Fatalf("bundle %d: %v", i, err)
		case want.Ino != found.Ino || want.Dev != found.Dev:
			t.Errorf("bundle %d: args %q cwd %s mounts %v masked %v\nDetect found inode %d: %+v\nthe kernel %d",
				i, b.Spec.Process.Args, b.Spec.Process.Cwd, b.Spec.Mounts, b.Spec.Linux.MaskedPaths, found.Ino, w, want.Ino)
		case want.Ino == 0:
			none++
		default:
			same++
		}
	}
	t.Logf("%d the same file, %d none, %d bundles that cannot be mounted", same, none, skipped)
	if same < *kernelBundles/50 || none < *kernelBundles/50 {
		t.Error("too few bundles to mean anything")
	}
}

// asMounted returns the inode of the module that args[0] is inside the container,
// zero if there is none. It works on a thread that ends with it, and with the
// thread its mount namespace.
func asMounted(b *Bundle) (st unix.Stat_t, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		st, err = mountAndOpen(b)
	}()
	<-done
	return st, err
}

func mountAndOpen(b *Bundle) (none unix.Stat_t, _ error) {
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
		return none, fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return none, fmt.Errorf("make / private: %w", err)
	}
	rootfs := filepath.Join(b.Dir, "rootfs")
	if err := unix.Mount(rootfs, rootfs, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return none, err
	}
	root, err := unix.Open(rootfs, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return none, err
	}
	defer unix.Close(root)
	for _, m := range b.Spec.Mounts {
		source, flags := m.Source, uintptr(0)
		if m.Type != "tmpfs" {
			source, flags = filepath.Join(b.Dir, m.Source), unix.MS_BIND
			if m.Options[0] == "rbind" {
				flags |= unix.MS_REC
			}
		}
		if err := mountAt(root, source, filepath.Clean(m.Destination), m.Type, flags); err != nil {
			return none, err
		}
	}
	for _, p := range b.Spec.Linux.MaskedPaths {
		if err := mask(root, p); err != nil {
			return none, err
		}
	}
	if err := unix.Fchdir(root); err != nil {
		return none, err
	}
	if err := unix.Chroot("."); err != nil {
		return none, err
	}
	if os.MkdirAll(b.Spec.Process.Cwd, 0o755) != nil || unix.Chdir(b.Spec.Process.Cwd) != nil {
		return none, errNoContainer
	}
	var st unix.Stat_t
	if err := unix.Stat(b.Spec.Process.Args[0], &st); err != nil {
		return none, nil
	}
	// Empty files are the mount points of files, which Detect need not know.
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size == 0 {
		return none, nil
	}
	return st, nil
}

// inRoot opens p as a process with that root would.
func inRoot(root int, p string) (int, error) {
	return unix.Openat2(root, p, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
}

// mountAt mounts on dest, made if it does not exist, and refuses the root, as
// libcontainer does.
func mountAt(root int, source, dest, fstype string, flags uintptr) error {
	var src unix.Stat_t
	if flags != 0 && unix.Stat(source, &src) != nil {
		return errNoContainer
	}
	fd, err := inRoot(root, dest)
	if err == unix.ENOENT {
		makePoint(root, dest, flags == 0 || src.Mode&unix.S_IFMT == unix.S_IFDIR)
		fd, err = inRoot(root, dest)
	}
	if err != nil {
		return errNoContainer
	}
	defer unix.Close(fd)
	var top, at unix.Stat_t
	if err := errors.Join(unix.Fstat(root, &top), unix.Fstat(fd, &at)); err != nil {
		return err
	}
	if top.Dev == at.Dev && top.Ino == at.Ino {
		return errNoContainer
	}
	if unix.Mount(source, procFD(fd), fstype, flags, "") != nil {
		return errNoContainer
	}
	return nil
}

func makePoint(root int, dest string, isDir bool) {
	for i := 1; i <= len(dest); i++ {
		if i < len(dest) && dest[i] != '/' {
			continue
		}
		parent, err := inRoot(root, filepath.Dir(dest[:i]))
		if err != nil {
			return
		}
		if i < len(dest) || isDir {
			_ = unix.Mkdirat(parent, filepath.Base(dest[:i]), 0o755)
		} else if fd, err := unix.Openat(parent, filepath.Base(dest), unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o644); err == nil {
			unix.Close(fd)
		}
		unix.Close(parent)
	}
}

func mask(root int, p string) error {
	fd, err := inRoot(root, p)
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return errNoContainer
	}
	defer unix.Close(fd)
	if unix.Mount("/dev/null", procFD(fd), "", unix.MS_BIND, "") == nil {
		return nil
	}
	if unix.Mount("tmpfs", procFD(fd), "tmpfs", unix.MS_RDONLY, "") != nil {
		return errNoContainer
	}
	return nil
}
