package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// hostSettings writes /etc/runw/accel.json for the rest of the test, in the run's own mount
// namespace.
func hostSettings(t *testing.T, settings map[string]any) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts")
	}
	// On a tmpfs, for an overlay does not go on top of another.
	dir, err := os.MkdirTemp(rt.tmp, "etc-")
	must(t, err)
	must(t, unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, ""))
	t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	upper, work := mkdir(t, filepath.Join(dir, "upper")), mkdir(t, filepath.Join(dir, "work"))
	must(t, unix.Mount("overlay", "/etc", "overlay", 0, "lowerdir=/etc,upperdir="+upper+",workdir="+work))
	t.Cleanup(func() { must(t, unix.Unmount("/etc", unix.MNT_DETACH)) })
	content, err := json.Marshal(settings)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(mkdir(t, "/etc/runw"), "accel.json"), content, 0o644))
}

// vulkan is a test's host with ggml's Vulkan build and Mesa's driver that computes on the CPU.
func vulkan(t *testing.T, software bool) {
	t.Helper()
	if drivers, _ := filepath.Glob("/usr/share/vulkan/icd.d/lvp_icd.*"); len(drivers) == 0 {
		t.Skip("needs a Vulkan driver: apt-get install mesa-vulkan-drivers")
	}
	hostSettings(t, map[string]any{"library_dirs": []string{accelLibs(t, "ggml-vulkan")}, "software_gpu": software})
}

// grant gives the box a GPU's node, and the cgroup's leave to use it.
func (b *box) grant(allow bool) {
	major, minor, mode := int64(226), int64(128), os.FileMode(0o666)
	b.Spec.Linux.Devices = append(b.Spec.Linux.Devices, specs.LinuxDevice{Path: "/dev/dri/renderD128", Type: "c", Major: major, Minor: minor, FileMode: &mode})
	if allow {
		b.Spec.Linux.Resources.Devices = append(b.Spec.Linux.Resources.Devices, specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: &major, Minor: &minor, Access: "rw"})
	}
}

// A model goes to the GPU if config.json grants it one, and else not; the helper has the
// node that the container has. (What Vulkan computes is tested in pkg/accel/ggml, where the
// driver's shaders are kept: compiling them takes a minute.)
func TestGPUGranted(t *testing.T) {
	const gpu, auto = "1", "3"
	rows := []struct {
		name     string
		target   string
		software bool
		prepare  func(b *box)
		stdout   string
		stderr   string
	}{
		{"granted", gpu, true, func(b *box) { b.grant(true) }, "load: 0\n", "offloaded 3/3 layers to GPU"},
		{"granted, auto", auto, true, func(b *box) { b.grant(true) }, "load: 0\n", "offloaded 3/3 layers to GPU"},
		{"not granted", gpu, true, func(*box) {}, "load: ", "no GPU to compute on: granted: none"},
		{"denied by the cgroup", gpu, true, func(b *box) { b.grant(false) }, "load: ", "no GPU to compute on: granted: none"},
		{"not granted, auto", auto, true, func(*box) {}, "load: 0\n", "target AUTO: the CPU: no GPU to compute on"},
		{"software without the host's leave", gpu, false, func(b *box) { b.grant(true) }, "load: ", "no GPU to compute on"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			vulkan(t, row.software)
			b := newInference(t, "load", "6", row.target, "/models/abc.gguf", `{"n-gpu-layers":99,"threads":1,"ctx-size":64}`)
			must(t, b.Add(llmModel(t), "models/abc.gguf", 0o644))
			row.prepare(b)
			res := b.run().ok().warns(row.stderr)
			if !strings.HasPrefix(res.stdout, row.stdout) || row.stdout == "load: " && res.stdout == "load: 0\n" {
				t.Errorf("%v", res)
			}
		})
	}
}

// The node is there under its name, with its number, if and only if it is granted.
func TestGPUNode(t *testing.T) {
	for _, granted := range []bool{true, false} {
		b := newInference(t, "idle")
		if granted {
			b.grant(true)
		}
		b.begin()
		b.await("asleep")
		var st unix.Stat_t
		err := unix.Stat(fmt.Sprintf("/proc/%d/root/dev/dri/renderD128", b.helper()), &st)
		if granted && (err != nil || st.Rdev != unix.Mkdev(226, 128)) || !granted && err == nil {
			t.Errorf("granted %t: %v, device %#x", granted, err, st.Rdev)
		}
		b.quiet("delete", "--force", b.id).ok()
		b.wait()
	}
}

// A model for a GPU that is preloaded without one is refused before there is a container.
func TestGPUPreloadRefused(t *testing.T) {
	b := newInference(t, "idle")
	b.Spec.Annotations = map[string]string{"run.runw.nn-preload": "x:ggml:gpu:/models/x.gguf"}
	b.create().exits(1).warns("model x is for a GPU", "config.json grants none")
}

// A file of settings that others could change is refused.
func TestAccelSettings(t *testing.T) {
	hostSettings(t, map[string]any{"helper": "/nonexistent/helper"})
	b := newInference(t, "idle")
	b.create().exits(1).warns("helper for inference: stat /nonexistent/helper")
	must(t, os.Chmod("/etc/runw/accel.json", 0o666))
	b.create().exits(1).warns("/etc/runw/accel.json: refused, others than root could change it")
	must(t, os.WriteFile("/etc/runw/accel.json", []byte(`{"library_dir":"x"}`), 0o644))
	must(t, os.Chmod("/etc/runw/accel.json", 0o644))
	b.create().exits(1).warns(`/etc/runw/accel.json: json: unknown field "library_dir"`)
}

// A device of the Container Device Interface, named by an annotation: node, cgroup rule and
// variable, for a program and for a module's helper; an unknown one is named.
func TestCDI(t *testing.T) {
	needRunw(t)
	hostSettings(t, map[string]any{})
	dir := mkdir(t, "/etc/cdi")
	must(t, os.WriteFile(dir+"/vendor.json", []byte(`{"cdiVersion": "0.6.0", "kind": "vendor.test/gpu", "devices": [
		{"name": "0", "containerEdits": {"env": ["VENDOR=0"], "deviceNodes": [{"path": "/dev/dri/renderD128", "type": "c", "major": 226, "minor": 128}]}}]}`), 0o644))
	annotations := func(device string) map[string]string { return map[string]string{"cdi.k8s.io/test": device} }
	t.Run("native", func(t *testing.T) {
		b := newBox(t, "busybox", "sh", "-c", "stat -c %t:%T /dev/dri/renderD128; echo $VENDOR")
		b.Spec.Annotations = annotations("vendor.test/gpu=0")
		b.run().ok().says("e2:80\n0\n")
	})
	t.Run("module", func(t *testing.T) {
		b := newInference(t, "idle")
		b.Spec.Annotations = annotations("vendor.test/gpu=0")
		b.begin()
		b.await("asleep")
		var st unix.Stat_t
		must(t, unix.Stat(fmt.Sprintf("/proc/%d/root/dev/dri/renderD128", b.helper()), &st))
		b.quiet("delete", "--force", b.id).ok()
		b.wait()
	})
	t.Run("unknown", func(t *testing.T) {
		b := newBox(t, "busybox", "true")
		b.Spec.Annotations = annotations("vendor.test/gpu=0,vendor.test/gpu=7")
		b.create().exits(1).warns("unknown CDI devices: vendor.test/gpu=7 (searched in /etc/cdi, /var/run/cdi)")
	})
	t.Run("unsafe", func(t *testing.T) {
		must(t, os.Chmod(dir+"/vendor.json", 0o666))
		b := newBox(t, "busybox", "true")
		b.Spec.Annotations = annotations("vendor.test/gpu=0")
		b.create().exits(1).warns("CDI devices: /etc/cdi/vendor.json: refused, others than root could change it")
	})
}
