package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

const cdiSpec = `{
	"cdiVersion": "0.6.0", "kind": "vendor.test/gpu",
	"devices": [{"name": "0", "containerEdits": {
		"deviceNodes": [{"path": "/dev/dri/renderD128", "type": "c", "major": 226, "minor": 128}],
		"env": ["VENDOR_DEVICE=0"]
	}}],
	"containerEdits": {
		"mounts": [{"hostPath": "/usr/lib/vendor", "containerPath": "/usr/lib/vendor", "options": ["bind", "ro"]}],
		"hooks": [{"hookName": "createContainer", "path": "/usr/bin/vendor-hook", "args": ["vendor-hook", "links"]}]
	}
}`

func cdiSpecs(t *testing.T, content string) []string {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "vendor.json")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{dir, filepath.Join(dir, "absent")}
}

func TestInjectCDI(t *testing.T) {
	minimal := func(annotations map[string]string) *specs.Spec {
		return &specs.Spec{
			Process:     &specs.Process{Args: []string{"/app"}, Cwd: "/"},
			Root:        &specs.Root{Path: "rootfs"},
			Annotations: annotations,
		}
	}
	dirs := cdiSpecs(t, cdiSpec)
	spec := minimal(map[string]string{"cdi.k8s.io/vendor": "vendor.test/gpu=0", "cdi.k8s.io/again": "vendor.test/gpu=0"})
	if err := injectCDI(spec, dirs); err != nil {
		t.Fatal(err)
	}
	l := spec.Linux
	if l == nil || len(l.Devices) != 1 || l.Devices[0].Path != "/dev/dri/renderD128" || l.Devices[0].Minor != 128 {
		t.Errorf("devices: %+v", l)
	} else if r := l.Resources; r == nil || len(r.Devices) != 1 || !r.Devices[0].Allow || *r.Devices[0].Minor != 128 {
		t.Errorf("cgroup rules: %+v", r)
	}
	if len(spec.Mounts) != 1 || spec.Mounts[0].Destination != "/usr/lib/vendor" {
		t.Errorf("mounts: %+v", spec.Mounts)
	}
	if !slices.Contains(spec.Process.Env, "VENDOR_DEVICE=0") || spec.Hooks == nil || len(spec.Hooks.CreateContainer) != 1 {
		t.Errorf("variables %q, hooks %+v", spec.Process.Env, spec.Hooks)
	}
	rows := []struct {
		name, value, content, want string
	}{
		{"unknown device", "vendor.test/gpu=1", cdiSpec, "unknown CDI devices: vendor.test/gpu=1"},
		{"unknown devices", "vendor.test/gpu=0,x.y/z=a,x.y/z=b", cdiSpec, "unknown CDI devices: x.y/z=a, x.y/z=b"},
		{"no device", "nonsense", cdiSpec, "nonsense"},
		{"broken file", "vendor.test/gpu=0", "{", "vendor.json"},
		{"hostile file", "vendor.test/gpu=0", strings.Replace(cdiSpec, "VENDOR_DEVICE=0", "VENDOR", 1), "VENDOR"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			spec := minimal(map[string]string{"cdi.k8s.io/vendor": row.value})
			err := injectCDI(spec, cdiSpecs(t, row.content))
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("error %v, want %q", err, row.want)
			}
		})
	}
}
