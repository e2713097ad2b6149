package ggml

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/runw/runw/pkg/accel"
)

// graph is a model's file, where it may be computed on, and the model as loaded last.
type graph struct {
	backend *Backend
	// file stays open: other options for the model load it again.
	file    *os.File
	devices []device
	options options
	// configured says that options came with the model.
	configured bool
	model      *model
	closed     bool
}

var errClosed = errors.New("the graph is unloaded")

// dup is another descriptor of the same open file.
func dup(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// NewContext makes a context that takes the graph's options. If the model came
// with some, the memory for its tokens is taken now and no prompt has to wait for it.
// Otherwise it is when the context computes first: metadata may still change its size.
func (g *graph) NewContext() (accel.Context, error) {
	if g.closed {
		return nil, fmt.Errorf("%w: %w", errClosed, accel.ErrInvalidArgument)
	}
	e := &execution{graph: g, options: g.options, abort: newAbort(0)}
	// To load the model again, as another context's metadata may have done, takes the
	// time of a computation.
	if g.configured && g.model.options == g.options.model {
		_ = e.prepare(context.Background()) // computing tries it again, and says why it fails
	}
	return e, nil
}

// Close frees the model unless a context still holds it.
func (g *graph) Close() {
	if g.closed {
		return
	}
	g.closed = true
	g.model.release()
	_ = g.file.Close() // nothing was written
}

// modelWith is the model with these options, loaded again if they are others.
// The caller holds it.
func (g *graph) modelWith(ctx context.Context, o modelOptions) (*model, error) {
	if g.closed {
		return nil, fmt.Errorf("%w: %w", errClosed, accel.ErrRuntime)
	}
	if g.model.options != o {
		g.backend.say("the model's options changed: it is loaded again")
		loaded, err := g.backend.load(ctx, g.file, o, g.devices)
		if err != nil {
			return nil, err
		}
		g.model.release()
		g.model = loaded
	}
	return g.model.hold(), nil
}
