package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"tags.cncf.io/container-device-interface/pkg/cdi"
)

// inject reads a specification, adds what its annotations cdi.k8s.io/… name, and
// writes it: device nodes with their cgroup rules, mounts, variables and hooks.
// The directories, of which a later one wins, have been checked by the caller.
func inject(dirs []string, in io.Reader, out io.Writer) error {
	var spec specs.Spec
	if err := json.NewDecoder(in).Decode(&spec); err != nil {
		return err
	}
	if err := injectCDI(&spec, dirs); err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(&spec)
}

func injectCDI(spec *specs.Spec, dirs []string) error {
	_, devices, err := cdi.ParseAnnotations(spec.Annotations)
	if err != nil {
		return err
	}
	slices.Sort(devices)
	devices = slices.Compact(devices)
	cache, err := cdi.NewCache(cdi.WithSpecDirs(dirs...), cdi.WithAutoRefresh(false))
	if err != nil {
		return err
	}
	unknown, err := cache.InjectDevices(spec, devices...)
	if len(unknown) == 0 {
		return err
	}
	list := fmt.Errorf("unknown CDI devices: %s (searched in %s)", strings.Join(unknown, ", "), strings.Join(dirs, ", "))
	var reasons []string
	for path, errs := range cache.GetErrors() {
		reasons = append(reasons, fmt.Sprintf("%s: %v", path, errors.Join(errs...)))
	}
	if slices.Sort(reasons); len(reasons) > 0 {
		return fmt.Errorf("%w: %s", list, strings.Join(reasons, "; "))
	}
	return list
}
