package sandbox

/*
#include "accel_linux.h"
*/
import "C"

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runc/libcontainer/configs"
)

// accelOrder is C's struct accel_order in the making.
type accelOrder struct {
	flags, uid, gid uint32
	groups          []uint32
	steps           []accelStep
	strings         []string // args and then env
	args, env       int
}

// accelStep is C's struct accel_step with its strings.
type accelStep struct {
	kind           uint32
	target, source string
	device         Device // for ACCEL_NODE
	mode           uint32
}

func (o *accelOrder) encode() ([]byte, error) {
	var body []byte
	words := func(list ...uint32) {
		for _, v := range list {
			body = binary.NativeEndian.AppendUint32(body, v)
		}
	}
	words(o.groups...)
	texts := make([]string, 0, 2*len(o.steps)+len(o.strings))
	for _, s := range o.steps {
		words(s.kind, s.mode, s.device.Major, s.device.Minor, s.device.UID, s.device.GID)
		texts = append(texts, strings.TrimPrefix(s.target, "/"), s.source)
	}
	for _, s := range append(texts, o.strings...) {
		if strings.IndexByte(s, 0) >= 0 {
			return nil, fmt.Errorf("%q has a NUL byte", s)
		}
		body = append(append(body, s...), 0)
	}
	const most = 1 << 20 // C's MAX_ORDER
	if len(body) > most {
		return nil, errors.New("its order is too long")
	}
	head := binary.NativeEndian.AppendUint64(nil, C.ACCEL_MAGIC)
	for _, v := range []uint32{
		uint32(len(body)), o.flags, o.uid, o.gid, uint32(len(o.groups)), uint32(len(o.steps)), uint32(o.args), uint32(o.env),
	} {
		head = binary.NativeEndian.AppendUint32(head, v)
	}
	return append(head, body...), nil
}

// systemView is what a dynamic program and the drivers of devices need of the
// host: libraries and their configuration, and no programs. What is not there
// is left out.
var systemView = []string{
	"/lib", "/lib32", "/lib64", "/libx32", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libx32", "/usr/local/lib", "/usr/local/lib64",
	"/usr/local/cuda*", "/opt/rocm*", "/nix/store", "/run/opengl-driver",
	"/usr/share/vulkan", "/usr/share/glvnd", "/usr/share/drirc.d", "/usr/share/libdrm", "/usr/share/nvidia",
	"/etc/ld.so.cache", "/etc/alternatives", "/etc/vulkan", "/etc/OpenCL", "/etc/glvnd", "/etc/drirc", "/etc/nvidia",
}

// view is the helper's file system, step by step.
func (a *Accel) view(config *configs.Config) ([]accelStep, error) {
	var steps []accelStep
	for _, pattern := range systemView {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			steps = append(steps, showPath(path))
		}
	}
	// Before what may be shown of their directories.
	const small = "mode=1777,size=64m"
	steps = append(steps,
		accelStep{kind: C.ACCEL_BIND, target: "/run/" + accelName, source: a.Program},
		accelStep{kind: C.ACCEL_TMPFS, target: "/tmp", source: "mode=1777,size=256m"}, // a driver's compiled shaders
		accelStep{kind: C.ACCEL_PROC, target: "/proc"},
		accelStep{kind: C.ACCEL_TMPFS, target: "/dev", source: "mode=0755,size=64k"},
		accelStep{kind: C.ACCEL_TMPFS, target: "/dev/shm", source: small},
	)
	sys := []string{"/sys/devices/system/cpu", "/sys/devices/system/node"}
	if a.GPU {
		sys = []string{"/sys"}
	}
	for _, path := range slices.Concat(sys, a.Visible) {
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) && strings.HasPrefix(path, "/sys") {
			continue
		}
		steps = append(steps, accelStep{kind: C.ACCEL_BIND, target: path, source: path})
	}
	for _, d := range a.nodes() {
		if d.Path != filepath.Clean(d.Path) || !strings.HasPrefix(d.Path, "/dev/") {
			return nil, fmt.Errorf("device %q: is not below /dev", d.Path)
		}
		if d.Host == "" {
			d.Host = d.Path
		}
		uid, err := config.HostUID(int(d.UID))
		if err != nil {
			return nil, fmt.Errorf("device %s: %w", d.Path, err)
		}
		gid, err := config.HostGID(int(d.GID))
		if err != nil {
			return nil, fmt.Errorf("device %s: %w", d.Path, err)
		}
		d.UID, d.GID = uint32(uid), uint32(gid)
		steps = append(steps, accelStep{kind: C.ACCEL_NODE, target: d.Path, source: d.Host, device: d, mode: d.Mode})
	}
	return steps, nil
}

// nodes are those that libraries of every kind want, and the granted ones.
func (a *Accel) nodes() []Device {
	memory := func(name string, minor uint32) Device {
		return Device{Path: "/dev/" + name, Major: memoryMajor, Minor: minor, Mode: 0o666}
	}
	return append([]Device{memory("null", 3), memory("zero", 5), memory("full", 7), memory("random", 8), memory("urandom", 9)}, a.Devices...)
}

// showPath shows a link as it is, for a merged /usr, and all else by a mount.
func showPath(path string) accelStep {
	if to, err := os.Readlink(path); err == nil {
		return accelStep{kind: C.ACCEL_LINK, target: path, source: to}
	}
	return accelStep{kind: C.ACCEL_BIND, target: path, source: path}
}
