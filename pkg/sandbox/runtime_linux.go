package sandbox

import (
	"os"

	"github.com/moby/sys/userns"
	"github.com/opencontainers/cgroups/systemd"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/sirupsen/logrus"

	_ "github.com/opencontainers/cgroups/devices" // the device controllers register themselves
)

// Runtime is one state directory and the way its containers get their cgroups.
type Runtime struct {
	// Root is the directory that holds a directory per container.
	Root string
	// SystemdCgroup asks systemd for the cgroups.
	SystemdCgroup bool
	// Rootless says whether cgroup permission errors are ignored; nil means to
	// find out.
	Rootless *bool
}

func (r *Runtime) load(id string) (*libcontainer.Container, error) {
	if id == "" {
		return nil, ErrEmptyID
	}
	return libcontainer.Load(r.Root, id)
}

// rootlessCgroups decides as runc does: whoever is not root in the initial
// user namespace probably owns no cgroup.
func (r *Runtime) rootlessCgroups() bool {
	switch {
	case r.Rootless != nil:
		return *r.Rootless
	case os.Geteuid() != 0:
		return true
	case !userns.RunningInUserNS():
		return false
	case r.SystemdCgroup:
		// Root in a user namespace may still own a whole systemd (a system
		// container); its answer decides, and silence means root.
		uid, err := systemd.DetectUID()
		if err != nil {
			logrus.WithError(err).Debug("systemd does not tell its owner, taken for root")
			return false
		}
		return uid != 0
	}
	return true
}

// DefaultRoot is the state directory when --root is not given: below
// $XDG_RUNTIME_DIR for everybody but real root, whose $XDG_RUNTIME_DIR
// (/run/user/0) is not shared by all of root's sessions. xdg tells which.
func DefaultRoot() (root string, xdg bool) {
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" || !honorXDG() {
		return "/run/runw", false
	}
	return dir + "/runw", true
}

func honorXDG() bool {
	if os.Geteuid() != 0 {
		return true
	}
	if !userns.RunningInUserNS() {
		return false
	}
	// Root of a user namespace that was entered as somebody else; USER=root is
	// what a system container (LXC) sets.
	user, set := os.LookupEnv("USER")
	return !set || user != "root"
}
