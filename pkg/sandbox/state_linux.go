package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"
	"time"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/utils"
)

// State is what `state` and `list` print: the runtime-spec's state with runc's
// additional fields, under runc's names.
type State struct {
	Version     string            `json:"ociVersion"`
	ID          string            `json:"id"`
	PID         int               `json:"pid"` // in the caller's namespace; 0 once stopped
	Status      string            `json:"status"`
	Bundle      string            `json:"bundle"`
	Rootfs      string            `json:"rootfs"`
	Created     time.Time         `json:"created"` // UTC
	Annotations map[string]string `json:"annotations,omitempty"`
	// Owner is the user that owns the state directory; only List fills it in.
	Owner string `json:"owner"`
}

// State tells about one container.
func (r *Runtime) State(id string) (*State, error) {
	c, err := r.load(id)
	if err != nil {
		return nil, err
	}
	return stateOf(c)
}

func stateOf(c *libcontainer.Container) (*State, error) {
	status, err := c.Status()
	if err != nil {
		return nil, err
	}
	s, err := c.State()
	if err != nil {
		return nil, err
	}
	bundle, annotations := utils.Annotations(s.Config.Labels)
	pid := s.InitProcessPid
	if status == libcontainer.Stopped {
		pid = 0
	}
	return &State{
		Version:     s.Config.Version,
		ID:          s.ID,
		PID:         pid,
		Status:      status.String(),
		Bundle:      bundle,
		Rootfs:      s.Config.Rootfs,
		Created:     s.Created,
		Annotations: annotations,
	}, nil
}

// List tells about every container below the root, in the order of their ids.
// A container that cannot be read is reported to skipped and left out. A root
// that does not exist is fs.ErrNotExist.
func (r *Runtime) List(skipped func(error)) ([]State, error) {
	dirs, err := os.ReadDir(r.Root)
	if err != nil {
		return nil, err
	}
	var states []State
	for _, d := range dirs {
		if !d.IsDir() {
			continue
		}
		info, err := d.Info()
		if errors.Is(err, os.ErrNotExist) {
			continue // deleted since
		}
		if err != nil {
			return nil, err
		}
		s, err := r.State(d.Name())
		if err != nil {
			skipped(fmt.Errorf("container %q: %w", d.Name(), err))
			continue
		}
		s.Owner = owner(info)
		states = append(states, *s)
	}
	return states, nil
}

// owner names the user, or "#uid" where the host does not know one.
func owner(info os.FileInfo) string {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	uid := strconv.Itoa(int(st.Uid))
	if u, err := user.LookupId(uid); err == nil {
		return u.Username
	}
	return "#" + uid
}
