package sandbox

import (
	"errors"

	"github.com/opencontainers/runc/libcontainer"
)

// The errors of this package that callers tell apart with errors.Is. The first
// four are libcontainer's, so that their texts stay those of runc.
var (
	ErrExist      = libcontainer.ErrExist
	ErrNotExist   = libcontainer.ErrNotExist
	ErrNotRunning = libcontainer.ErrNotRunning
	ErrInvalidID  = libcontainer.ErrInvalidID

	// ErrEmptyID is returned by every call that was given "" as the id.
	ErrEmptyID = errors.New("container id cannot be empty")
	// ErrState is wrapped when the container's state does not allow the call.
	ErrState = errors.New("wrong container state")
)

// stateError keeps runc's text and can be told by errors.Is(err, ErrState).
type stateError string

func (e stateError) Error() string        { return string(e) }
func (e stateError) Is(target error) bool { return target == ErrState }
