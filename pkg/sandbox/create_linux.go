package sandbox

import (
	"os"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/sirupsen/logrus"
)

// CreateArgs says what to create.
type CreateArgs struct {
	ProcessArgs
	// ID names the container below Runtime.Root.
	ID string
	// Bundle is the bundle's directory; Spec its validated config.json, which
	// Create may change.
	Bundle string
	Spec   *specs.Spec
	// NoPivot and NoNewKeyring are runc's flags of these names.
	NoPivot, NoNewKeyring bool
}

// Create makes a container whose program waits for Start. On error nothing of
// the container is left.
func (r *Runtime) Create(a CreateArgs) error {
	c := r.newCreation(&a, true)
	if err := c.create(); err != nil {
		return err
	}
	c.stdio.release()
	return nil
}

// creation is one container on its way from config.json to a running process.
type creation struct {
	launch
	runtime *Runtime
	from    *CreateArgs
	notify  *notifySocket
}

func (r *Runtime) newCreation(a *CreateArgs, detach bool) *creation {
	return &creation{
		launch:  launch{id: a.ID, spec: a.Spec.Process, args: &a.ProcessArgs, init: true, detach: detach},
		runtime: r,
		from:    a,
	}
}

// create takes the container to the state "created".
func (c *creation) create() (retErr error) {
	a := c.from
	if a.ID == "" {
		return ErrEmptyID
	}
	if err := c.checkTerminal(); err != nil {
		return err
	}
	if a.Guest != nil {
		m, err := newMetrics(a.Guest.Engine)
		if err != nil {
			return err
		}
		defer m.file.Close()
		a.Guest.metrics = m
	}
	c.notify = newNotifySocket(c.runtime.Root, a.ID)
	c.notify.addTo(a.Spec)
	config, err := c.runtime.config(a)
	if err != nil {
		return err
	}
	c.container, err = libcontainer.Create(c.runtime.Root, a.ID, config)
	if err != nil {
		return err
	}
	defer func() {
		if retErr != nil {
			c.abandon()
		}
	}()
	if err := c.notify.makeDir(); err != nil {
		return err
	}
	if err := c.rememberCreation(); err != nil {
		return err
	}
	if err := c.start(); err != nil {
		return err
	}
	c.runtime.forget(c.id) // state.json says it from here on
	return nil
}

// config is libcontainer's view of a container. specconv resolves the root
// filesystem and bind sources against the working directory and records it as
// the bundle.
func (r *Runtime) config(a *CreateArgs) (*configs.Config, error) {
	if err := os.Chdir(a.Bundle); err != nil {
		return nil, err
	}
	config, err := specconv.CreateLibcontainerConfig(&specconv.CreateOpts{
		CgroupName:       a.ID,
		UseSystemdCgroup: r.SystemdCgroup,
		NoPivotRoot:      a.NoPivot,
		NoNewKeyring:     a.NoNewKeyring,
		Spec:             a.Spec,
		RootlessEUID:     os.Geteuid() != 0,
		RootlessCgroups:  r.rootlessCgroups(),
	})
	if err == nil && a.Guest != nil {
		config.Labels = append(config.Labels, a.Guest.metrics.label)
	}
	return config, err
}

// abandon removes what a failed create has made so far.
func (c *creation) abandon() {
	c.kill()
	if err := c.runtime.destroy(c.container); err != nil {
		logrus.Warnf("container %q: %v", c.id, err)
	}
}
