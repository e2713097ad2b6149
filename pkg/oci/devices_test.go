package oci

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestDevices(t *testing.T) {
	number := func(n int64) *int64 { return &n }
	deny := specs.LinuxDeviceCgroup{Access: "rwm"}
	render := specs.LinuxDevice{Path: "/dev/dri/renderD128", Type: "c", Major: 226, Minor: 128}
	allow := func(access string, major, minor *int64) specs.LinuxDeviceCgroup {
		return specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: major, Minor: minor, Access: access}
	}
	rows := []struct {
		name    string
		devices []specs.LinuxDevice
		rules   []specs.LinuxDeviceCgroup
		want    []string
	}{
		{"none", nil, nil, nil},
		{"no rules", []specs.LinuxDevice{render}, nil, []string{"/dev/dri/renderD128"}},
		{"denied", []specs.LinuxDevice{render}, []specs.LinuxDeviceCgroup{deny}, nil},
		{"allowed", []specs.LinuxDevice{render}, []specs.LinuxDeviceCgroup{deny, allow("rw", number(226), number(128))}, []string{"/dev/dri/renderD128"}},
		{"any minor", []specs.LinuxDevice{render}, []specs.LinuxDeviceCgroup{deny, allow("rwm", number(226), nil)}, []string{"/dev/dri/renderD128"}},
		{"wildcard", []specs.LinuxDevice{render}, []specs.LinuxDeviceCgroup{deny, allow("rwm", number(-1), number(-1))}, []string{"/dev/dri/renderD128"}},
		{"another minor", []specs.LinuxDevice{render}, []specs.LinuxDeviceCgroup{deny, allow("rw", number(226), number(129))}, nil},
		{"read alone", []specs.LinuxDevice{render}, []specs.LinuxDeviceCgroup{deny, allow("r", number(226), number(128))}, nil},
		{"denied at last", []specs.LinuxDevice{render}, []specs.LinuxDeviceCgroup{allow("rwm", nil, nil), deny}, nil},
		{"block device", []specs.LinuxDevice{{Path: "/dev/x", Type: "b", Major: 226, Minor: 128}}, nil, nil},
		{"ordinary", []specs.LinuxDevice{{Path: "/dev/null", Type: "c", Major: 1, Minor: 3}}, nil, nil},
		{"outside", []specs.LinuxDevice{
			{Path: "/lib/x", Type: "c", Major: 226, Minor: 128}, {Path: "../../etc/x", Type: "c", Major: 226, Minor: 128},
			{Path: "/dev/../etc/x", Type: "c", Major: 226, Minor: 128},
		}, nil, nil},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			spec := &specs.Spec{Linux: &specs.Linux{Devices: row.devices, Resources: &specs.LinuxResources{Devices: row.rules}}}
			var got []string
			for _, d := range Devices(spec) {
				got = append(got, d.Path)
			}
			if !slices.Equal(got, row.want) {
				t.Errorf("%q, want %q", got, row.want)
			}
		})
	}
}

func TestDeviceGPU(t *testing.T) {
	rows := []struct {
		device Device
		want   bool
	}{
		{Device{Path: "/dev/dri/renderD128", Major: 226, Minor: 128}, true},
		{Device{Path: "/dev/dri/card0", Major: 226, Minor: 0}, false},
		{Device{Path: "/dev/nvidia0", Major: 195, Minor: 0}, true},
		{Device{Path: "/dev/nvidia-uvm", Major: 510, Minor: 0}, true},
		{Device{Path: "/dev/kfd", Major: 234, Minor: 0}, true},
		{Device{Path: "/dev/dxg", Major: 10, Minor: 63}, true},
		{Device{Path: "/dev/fuse", Major: 10, Minor: 229}, false},
	}
	for _, row := range rows {
		if got := row.device.GPU(); got != row.want {
			t.Errorf("%+v: %t", row.device, got)
		}
	}
}

func TestMountedDevices(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: device nodes")
	}
	node := filepath.Join(t.TempDir(), "node")
	if err := unix.Mknod(node, unix.S_IFCHR|0o600, int(unix.Mkdev(226, 128))); err != nil {
		t.Skipf("no device node can be made here: %v", err)
	}
	spec := &specs.Spec{Mounts: []specs.Mount{
		{Destination: "/dev/dri/renderD128", Type: "bind", Source: node},
		{Destination: "/dev/null0", Type: "bind", Source: "/dev/null"},
		{Destination: "/dev/dri/renderD129", Type: "bind", Source: "/nonexistent"},
		{Destination: "/mnt/dri", Type: "bind", Source: node},
	}}
	got := Devices(spec)
	want := Device{Path: "/dev/dri/renderD128", Host: node, Major: 226, Minor: 128, Mode: 0o600}
	if len(got) != 1 || got[0] != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
