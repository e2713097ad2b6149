package main

import (
	"encoding/json"
	"io"

	"github.com/runw/runw/pkg/accel"
)

// listed is one backend, as `runw accel list` reads it.
type listed struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	// Error says why the backend cannot be used.
	Error   string         `json:"error,omitempty"`
	Devices []accel.Device `json:"devices,omitempty"`
}

// list writes what each backend finds, as JSON.
func list(o *options, out io.Writer) error {
	if err := tighten(); err != nil {
		return err
	}
	all := make([]listed, 0, len(backends))
	for _, b := range backends {
		all = append(all, o.look(b))
	}
	return json.NewEncoder(out).Encode(all)
}

func (o *options) look(b backend) listed {
	with := o.backend
	with.Log = func(string) {}
	found := listed{Name: b.name}
	opened, err := b.open(with)
	if err == nil {
		found.Version = opened.Version()
		found.Devices, err = opened.Devices()
	}
	if err != nil {
		found.Error = err.Error()
	}
	return found
}
