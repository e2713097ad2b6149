package sandbox

import (
	"os"

	"github.com/opencontainers/runc/libcontainer/system"
	"github.com/sirupsen/logrus"
)

// RunArgs says what to run.
type RunArgs struct {
	CreateArgs
	// Detach returns as soon as the program runs.
	Detach bool
	// Keep leaves the container's state in place after its program has ended.
	Keep bool
	// NoSubreaper leaves orphans of the container to somebody else.
	NoSubreaper bool
}

// Run creates a container, starts it, and unless detached waits for its end and
// removes it. status is the program's: its exit code, or 128 and the number of
// the signal that killed it.
func (r *Runtime) Run(a RunArgs) (status int, err error) {
	c := r.newCreation(&a.CreateArgs, a.Detach)
	return c.attend(a.NoSubreaper, a.Keep, c.run)
}

// attend creates the container, calls begin and, unless the container is
// detached, waits for its end. With keep its state stays then.
func (c *creation) attend(noSubreaper, keep bool, begin func() error) (status int, err error) {
	var signals <-chan os.Signal
	if !c.detach {
		if !noSubreaper {
			if err := system.SetSubreaper(1); err != nil {
				logrus.Warn(err)
			}
		}
		if signals, err = watchSignals(); err != nil {
			return -1, err
		}
	}
	if err := c.create(); err != nil {
		return -1, err
	}
	defer c.stdio.release()
	if err := begin(); err != nil {
		c.abandon()
		return -1, err
	}
	if c.detach {
		return 0, nil
	}
	status = c.wait(signals)
	c.stdio.drain()
	if !keep {
		if err := c.container.Destroy(); err != nil {
			logrus.Warnf("container %q: %v", c.id, err)
		}
	}
	return status, nil
}

// run lets the program go.
func (c *creation) run() error {
	if err := c.notify.bind(); err != nil {
		return err
	}
	if err := c.container.Exec(); err != nil {
		return err
	}
	pid, err := c.process.Pid()
	if err != nil {
		return err
	}
	if c.detach {
		return c.notify.forward(pid, pid)
	}
	go func() {
		if err := c.notify.forward(pid, os.Getpid()); err != nil {
			logrus.Warnf("notify socket: %v", err)
		}
	}()
	return nil
}
