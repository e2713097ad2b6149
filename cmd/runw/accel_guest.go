package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/runw/runw/pkg/accel"
	"github.com/runw/runw/pkg/accel/wire"
	"github.com/runw/runw/pkg/aot"
	"github.com/runw/runw/pkg/oci"
	"github.com/runw/runw/pkg/sandbox"
	"golang.org/x/sys/unix"
)

// moduleNN is the module of WASI-NN: who imports from it gets a helper.
const moduleNN = "wasi_ephemeral_nn"

// annotationLimitsNN bounds what a module may have of its helper.
const annotationLimitsNN = "run.runw.nn-limits"

func importsInference(info *aot.Info) bool {
	for i := range info.Imports {
		if info.Imports[i].Module == moduleNN {
			return true
		}
	}
	return false
}

// inference says how the helper of the container is started, and which models the
// guest knows by name.
func (s *guestSource) inference(opts *options) (*sandbox.Accel, []sandbox.Model, error) {
	models, err := oci.NNModels(s.limits.process.Env, s.limits.process.Cwd, s.annotations)
	if err != nil {
		return nil, nil, err
	}
	limits, ok := s.annotations[annotationLimitsNN]
	if _, err := wire.ParseLimits(limits); err != nil || ok && limits == "" {
		return nil, nil, fmt.Errorf("annotations[%q]: %w", annotationLimitsNN, cmp.Or(err, errors.New("is empty")))
	}
	settings, err := accelSettingsOf(opts)
	if err != nil {
		return nil, nil, err
	}
	helper := settings.helper("serve", s.devices(), limits)
	var list []sandbox.Model
	for _, m := range models {
		if accel.Target(m.Target) == accel.TargetGPU && !helper.GPU {
			return nil, nil, fmt.Errorf("model %s is for a GPU (%s, %s), and config.json grants none: no device node in linux.devices", m.Name, oci.EnvNNPreload, oci.AnnotationNNPreload)
		}
		list = append(list, sandbox.Model(m))
	}
	return helper, list, nil
}

// helper is the call of one of the helper's commands.
func (s *accelSettings) helper(command string, devices []oci.Device, limits string) *sandbox.Accel {
	a := &sandbox.Accel{Program: s.Helper, Args: []string{command}}
	for _, dir := range s.LibraryDirs {
		a.Args = append(a.Args, "--library-dir", dir)
		if _, err := os.Stat(dir); err == nil {
			a.Visible = append(a.Visible, dir)
		}
	}
	if s.SoftwareGPU {
		a.Args = append(a.Args, "--software-gpu")
	}
	if limits != "" {
		a.Args = append(a.Args, "--limits", limits)
	}
	for _, d := range devices {
		a.Devices = append(a.Devices, sandbox.Device(d))
		if d.GPU() {
			a.GPU = true
			a.Args = append(a.Args, "--gpu", d.Path)
		}
	}
	return a
}

// execDevices are those of a running container; its cgroup holds whoever joins.
func execDevices(target *sandbox.Target) []oci.Device {
	var list []oci.Device
	for _, d := range target.Devices {
		list = append(list, oci.Device(d))
	}
	return list
}

// hostGPUs are the device nodes that this machine has to compute on.
func hostGPUs() ([]oci.Device, error) {
	var list []oci.Device
	for _, pattern := range []string{"/dev/dri/renderD*", "/dev/nvidia*", "/dev/kfd", "/dev/dxg"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		slices.Sort(paths)
		for _, path := range paths {
			var st unix.Stat_t
			if err := unix.Stat(path, &st); err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			if st.Mode&unix.S_IFMT != unix.S_IFCHR {
				continue
			}
			rdev := uint64(st.Rdev) //nolint:unconvert // 32 bits wide on some architectures
			list = append(list, oci.Device{
				Path: path, Host: path, Major: unix.Major(rdev), Minor: unix.Minor(rdev),
				Mode: st.Mode & 0o777, UID: st.Uid, GID: st.Gid,
			})
		}
	}
	return list, nil
}
