package hostfuncs

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestErrnoNames fixes numbers that guests have compiled in, from the witx
// errno enum, and that every number has a name of its own.
func TestErrnoNames(t *testing.T) {
	for n, name := range map[Errno]string{
		0: "SUCCESS", 1: "2BIG", 2: "ACCES", 6: "AGAIN", 8: "BADF", 20: "EXIST", 21: "FAULT",
		26: "INPROGRESS", 28: "INVAL", 29: "IO", 31: "ISDIR", 32: "LOOP", 33: "MFILE", 37: "NAMETOOLONG",
		44: "NOENT", 48: "NOMEM", 52: "NOSYS", 53: "NOTCONN", 54: "NOTDIR", 55: "NOTEMPTY",
		57: "NOTSOCK", 58: "NOTSUP", 61: "OVERFLOW", 63: "PERM", 64: "PIPE", 69: "ROFS",
		70: "SPIPE", 73: "TIMEDOUT", 75: "XDEV", 76: "NOTCAPABLE", 77: "AIADDRFAMILY", 84: "AINONAME", 87: "AISYSTEM",
		88: "UNKNOWN", 1 << 31: "UNKNOWN",
	} {
		if got := n.String(); got != name {
			t.Errorf("Errno(%d) is %s, want %s", uint32(n), got, name)
		}
	}
	seen := map[string]Errno{}
	for n := range Errno(len(errnoNames)) {
		name := n.String()
		if other, twice := seen[name]; twice || name == "" {
			t.Errorf("%d and %d are both called %q", other, n, name)
		}
		seen[name] = n
	}
}

func TestErrnoOf(t *testing.T) {
	// Linux has no name for these three of witx, and witx none for what Linux
	// adds; everything else must meet under one name.
	linux := map[string]bool{}
	for n := unix.Errno(1); n < 134; n++ {
		name := unix.ErrnoName(n)
		if name == "" {
			continue
		}
		want := errnoIo
		for have := range Errno(len(errnoNames)) {
			if "E"+have.String() == name {
				want = have
				linux[have.String()] = true
			}
		}
		// ENOTSUP is EOPNOTSUPP's other name on Linux.
		if n == unix.EOPNOTSUPP {
			want = errnoNotsup
			linux["NOTSUP"] = true
		}
		if got := fromUnix(n); got != want {
			t.Errorf("%s becomes %s, want %s", name, got, want)
		}
	}
	for n := errnoSuccess + 1; n <= errnoNotcapable; n++ {
		if name := n.String(); !linux[name] && name != "DOM" && name != "NOTCAPABLE" {
			t.Errorf("no Linux errno becomes %s", name)
		}
	}
	for _, c := range []struct {
		err  error
		want Errno
	}{
		{nil, errnoSuccess},
		{unix.EAGAIN, errnoAgain},
		{unix.EWOULDBLOCK, errnoAgain},
		{fmt.Errorf("open: %w", unix.ENOENT), errnoNoent},
		{&os.PathError{Op: "open", Err: unix.EACCES}, errnoAcces},
		{errors.New("no errno at all"), errnoIo},
	} {
		if got := errnoOf(c.err); got != c.want {
			t.Errorf("errnoOf(%v) = %s, want %s", c.err, got, c.want)
		}
	}
}
