package onnx

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/runw/runw/pkg/accel"
	"github.com/runw/runw/pkg/accel/onnx/model"
)

// mappings is the process's address space in kB.
func mappings(t *testing.T) (kB int) {
	t.Helper()
	runtime.GC()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "VmRSS:") {
			if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kB); err != nil {
				t.Fatal(err)
			}
		}
	}
	return kB
}

func TestOpenErrors(t *testing.T) {
	_, err := Open(accel.Options{LibraryDirs: []string{"/nowhere", t.TempDir()}})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for _, word := range []string{"libonnxruntime.so.1 or libonnxruntime.so", "/nowhere, ", "--accel-lib-dir", "RUNW_ACCEL_LIBS", "library_dirs", "/etc/runw/accel.json"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q does not name %q", err, word)
		}
	}
	if _, err := Open(accel.Options{}); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "no directory is set") {
		t.Errorf("no directory: %v", err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "libonnxruntime.so"), []byte("no library"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(accel.Options{LibraryDirs: []string{dir}}); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("no library: %v", err)
	}
	// libc is a library, but another.
	for _, libc := range []string{"/lib/x86_64-linux-gnu/libc.so.6", "/lib/aarch64-linux-gnu/libc.so.6"} {
		if _, err := os.Stat(libc); err == nil {
			if _, err := openLibrary(libc); err == nil || !strings.Contains(err.Error(), "OrtGetApiBase") {
				t.Errorf("libc: %v", err)
			}
		}
	}
}

// Found below a directory of all libraries too.
func TestOpenParent(t *testing.T) {
	b, err := Open(accel.Options{LibraryDirs: []string{"/nowhere", filepath.Dir(libraryDir(t))}})
	if err != nil {
		t.Fatal(err)
	}
	if b.Name() != "onnx" || b.Encoding() != accel.EncodingONNX || !strings.HasPrefix(b.Version(), "1.") {
		t.Errorf("%s %d %s", b.Name(), b.Encoding(), b.Version())
	}
}

func TestCheckVersion(t *testing.T) {
	for version, ok := range map[string]bool{
		"1.22.0": true, "1.30.0": true, "1.100.1": true, "1.21.9": false, "1.4.0": false, "2.0.0": false, "": false, "1": false, "1.x": false,
	} {
		if err := checkVersion(version); (err == nil) != ok {
			t.Errorf("%q: %v", version, err)
		}
	}
}

func TestDevices(t *testing.T) {
	b, _ := open(t, accel.Grants{})
	list, err := b.Devices()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(list, func(d accel.Device) bool { return d.Name == "CPU" })
	if i < 0 || list[i].GPU || list[i].Backend != "onnx" {
		t.Errorf("no CPU in %v", list)
	}
	for _, d := range list {
		if d.Name == "CUDA" && (!d.GPU || !strings.Contains(d.Description, "libonnxruntime_providers_cuda.so is missing")) {
			t.Errorf("%+v", d)
		}
	}
}

// A GPU that is not there is refused with what is missing, or replaced by the CPU
// with a line that says so.
func TestTargets(t *testing.T) {
	tests := []struct {
		name   string
		nodes  []string
		target accel.Target
		config string
		text   string // of the error, or for AUTO of the line
	}{
		{"none granted", nil, accel.TargetGPU, "", "no GPU is granted"},
		{"none granted", nil, accel.TargetAuto, "", "no GPU is granted"},
		{"no provider's files", []string{"/dev/nvidia0", "/dev/nvidiactl"}, accel.TargetGPU, `{"provider":"cuda"}`, "cuda needs "},
		{"no provider's files", []string{"/dev/nvidia0"}, accel.TargetAuto, `{"provider":"tensorrt"}`, "libonnxruntime_providers_tensorrt.so"},
		{"another vendor", []string{"/dev/dri/renderD128"}, accel.TargetGPU, `{"provider":"cuda"}`, "none of the granted /dev/dri/renderD128"},
		{"not built in", []string{"/dev/kfd"}, accel.TargetGPU, "", "was built without migraphx"},
		{"unknown provider", []string{"/dev/kfd"}, accel.TargetAuto, `{"provider":"abacus"}`, `no provider is called "abacus"`},
		{"TPU", nil, accel.TargetTPU, "", "has none"},
		{"no such target", nil, 4, "", "target 4"},
		{"no driver", []string{"/dev/dri/renderD250"}, accel.TargetGPU, "", "webgpu: Vulkan finds no device"},
		{"no driver", []string{"/dev/dri/renderD250"}, accel.TargetAuto, "", "webgpu: Vulkan finds no device"},
	}
	// Dawn looks for Vulkan's drivers: here there are none, whatever is installed.
	t.Setenv("VK_ICD_FILENAMES", "/nowhere.json")
	t.Setenv("VK_DRIVER_FILES", "/nowhere.json")
	for _, test := range tests {
		b, lines := open(t, accel.Grants{Nodes: test.nodes})
		g, err := b.Load(context.Background(), accel.Model{Files: files(t, model.Scalar()), Target: test.target, Config: []byte(test.config)})
		if test.target == accel.TargetAuto && !strings.HasPrefix(test.name, "unknown") {
			if err != nil || len(*lines) != 1 || !strings.Contains((*lines)[0], test.text) || !strings.Contains((*lines)[0], "the CPU computes") {
				t.Errorf("%s: AUTO: %v, %q, want %q", test.name, err, *lines, test.text)
			}
		} else if err == nil || !strings.Contains(err.Error(), test.text) || len(*lines) > 0 {
			t.Errorf("%s: %v, want %q", test.name, err, test.text)
		}
		var code accel.Errno
		if err != nil && !errors.As(err, &code) {
			t.Errorf("%s: %v has no code", test.name, err)
		}
		if g != nil {
			g.Close()
		}
	}
}

// Debian's lavapipe computes on the CPU: the list says so, and it is no GPU unless
// the host's settings let it count as one. Then it is asked; that of Mesa 22 cannot
// do what WebGPU needs, that of Mesa 25 can.
func TestSoftwareGPU(t *testing.T) {
	icd := "/usr/share/vulkan/icd.d/lvp_icd.x86_64.json"
	if _, err := os.Stat(icd); err != nil {
		t.Skipf("%v: mesa-vulkan-drivers has it", err)
	}
	t.Setenv("VK_ICD_FILENAMES", icd)
	t.Setenv("VK_DRIVER_FILES", icd)
	b, _ := open(t, accel.Grants{Nodes: []string{"/dev/dri/renderD250"}})
	list, err := b.Devices()
	if err != nil || !slices.ContainsFunc(list, func(d accel.Device) bool {
		return d.GPU && d.Software && d.Name == "WebGpu" && strings.Contains(d.Description, "llvmpipe")
	}) {
		t.Errorf("%+v, %v", list, err)
	}
	m := accel.Model{Files: files(t, model.Scalar()), Target: accel.TargetGPU}
	if _, err := b.Load(context.Background(), m); !errors.Is(err, accel.ErrUnsupportedOperation) || !strings.Contains(err.Error(), "llvmpipe") {
		t.Errorf("a software GPU: %v", err)
	}
	b, _ = open(t, accel.Grants{Nodes: []string{"/dev/dri/renderD250"}, Software: true})
	g, err := b.Load(context.Background(), m)
	if err != nil {
		if !strings.Contains(err.Error(), "webgpu: ") || !strings.Contains(err.Error(), "WebGPU adapter") {
			t.Errorf("a driver that is too old: %v", err)
		}
		return
	}
	defer g.Close()
	x := newContext(t, g)
	defer x.Close()
	set(t, x, 0, accel.F32, nil, model.Floats(1.5))
	set(t, x, 1, accel.F32, nil, model.Floats(2.25))
	compute(t, x)
	if got := floats(output(t, x, 0)); !slices.Equal(got, []float32{3.75}) {
		t.Errorf("sum %v", got)
	}
}

func TestConfig(t *testing.T) {
	most := runtime.GOMAXPROCS(0)
	tests := []struct {
		json string
		want config
		ok   bool
	}{
		{"", config{IntraThreads: most, InterThreads: 1}, true},
		{"{}", config{IntraThreads: most, InterThreads: 1}, true},
		{`{"intra-op-threads":1,"unknown":[1]}`, config{IntraThreads: 1, InterThreads: 1}, true},
		{`{"intra-op-threads":1000000,"inter-op-threads":1000000}`, config{IntraThreads: most, InterThreads: most}, true},
		{`{"provider":"cuda"}`, config{IntraThreads: most, InterThreads: 1, Provider: "cuda"}, true},
		{`{"intra-op-threads":-1}`, config{}, false},
		{`{"inter-op-threads":-1}`, config{}, false},
		{`{"intra-op-threads":"1"}`, config{}, false},
		{`{"intra-op-threads":1.5}`, config{}, false},
		{`{"prepack":1}`, config{}, false},
		{`[]`, config{}, false},
		{`{`, config{}, false},
	}
	for _, test := range tests {
		got, err := parseConfig([]byte(test.json))
		if (err == nil) != test.ok || test.ok && got != test.want {
			t.Errorf("%s: %+v, %v", test.json, got, err)
		}
		if !test.ok && !errors.Is(err, accel.ErrInvalidArgument) {
			t.Errorf("%s: %v", test.json, err)
		}
	}
}

// Operations that run beside each other give what they give in a row.
func TestThreads(t *testing.T) {
	b, _ := open(t, accel.Grants{})
	g, err := b.Load(context.Background(), accel.Model{Files: files(t, model.Cast()), Config: []byte(`{"inter-op-threads":8,"intra-op-threads":8}`)})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	x := newContext(t, g)
	defer x.Close()
	set(t, x, 0, accel.F32, []uint32{2}, model.Floats(3, 4))
	compute(t, x)
	if got := output(t, x, 3); !slices.Equal(got, []byte{3, 4}) {
		t.Errorf("%v", got)
	}
}
