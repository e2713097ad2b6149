package oci

import (
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Device is a character device that config.json gives to the container.
type Device struct {
	// Path is its name in the container, Host that on the host.
	Path, Host   string
	Major, Minor uint32
	// Mode (the permission bits), UID and GID are the node's in the container.
	Mode, UID, GID uint32
}

// The majors are fixed in Linux's admin-guide/devices.txt; renderMinor is the first of a GPU's nodes that cannot change a display.
const (
	drmMajor    = 226
	nvidiaMajor = 195
	renderMinor = 128
	memoryMajor = 1 // null, zero, …: every container has them
	ttyMajor    = 5
)

// GPU tells whether a device is one to compute on, by its number where that is
// fixed and else by its name.
func (d *Device) GPU() bool {
	switch {
	case d.Major == drmMajor && d.Minor >= renderMinor, d.Major == nvidiaMajor:
		return true
	case d.Path == "/dev/kfd", d.Path == "/dev/dxg":
		return true
	}
	return strings.HasPrefix(d.Path, "/dev/nvidia") || strings.HasPrefix(d.Path, "/dev/dri/renderD")
}

// Devices are the character devices below /dev that config.json grants, without
// those that every container has: those of linux.devices that linux.resources.devices does not deny, and nodes of GPUs
// that are bind-mounted, which is how rootless clients pass them on.
func Devices(spec *specs.Spec) []Device {
	var list []Device
	if l := spec.Linux; l != nil {
		var rules []specs.LinuxDeviceCgroup
		if l.Resources != nil {
			rules = l.Resources.Devices
		}
		for _, d := range l.Devices {
			out := listed(d)
			ordinary := out.Major == memoryMajor || out.Major == ttyMajor
			if (d.Type == "c" || d.Type == "u") && !ordinary && strings.HasPrefix(out.Path, "/dev/") && allowed(rules, d.Major, d.Minor) {
				list = append(list, out)
			}
		}
	}
	for _, m := range spec.Mounts {
		d, ok := mounted(m)
		if ok && !slices.ContainsFunc(list, func(o Device) bool { return o.Path == d.Path }) {
			list = append(list, d)
		}
	}
	return list
}

func listed(d specs.LinuxDevice) Device {
	out := Device{Path: path.Clean(d.Path), Host: path.Clean(d.Path), Major: uint32(d.Major), Minor: uint32(d.Minor), Mode: 0o666}
	if d.FileMode != nil {
		out.Mode = uint32(d.FileMode.Perm())
	}
	if d.UID != nil {
		out.UID = *d.UID
	}
	if d.GID != nil {
		out.GID = *d.GID
	}
	return out
}

// allowed says what the device cgroup will: the last rule that is about the
// device decides, and without a rule there is no limit.
func allowed(rules []specs.LinuxDeviceCgroup, major, minor int64) bool {
	allow := len(rules) == 0
	for _, r := range rules {
		one := func(number *int64, of int64) bool { return number == nil || *number == -1 || *number == of }
		all := r.Type == "" || r.Type == "a"
		if !all && r.Type != "c" || !all && (!one(r.Major, major) || !one(r.Minor, minor)) {
			continue
		}
		switch both := strings.Contains(r.Access, "r") && strings.Contains(r.Access, "w"); {
		case r.Allow && (both || r.Access == ""):
			allow = true
		case !r.Allow && (r.Access == "" || strings.ContainsAny(r.Access, "rw")):
			allow = false
		}
	}
	return allow
}

func mounted(m specs.Mount) (Device, bool) {
	dest := path.Clean(m.Destination)
	bind := m.Type == "bind" || slices.Contains(m.Options, "bind") || slices.Contains(m.Options, "rbind")
	var st unix.Stat_t
	if !bind || !strings.HasPrefix(dest, "/dev/") || unix.Stat(m.Source, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR {
		return Device{}, false
	}
	d := Device{
		Path: dest, Host: m.Source,
		Major: unix.Major(uint64(st.Rdev)), Minor: unix.Minor(uint64(st.Rdev)), //nolint:unconvert // 32 bits wide on some architectures
		Mode: st.Mode & 0o777,
	}
	return d, d.GPU()
}
