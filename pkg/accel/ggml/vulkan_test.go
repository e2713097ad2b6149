package ggml

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/runw/runw/pkg/accel"
)

// onVulkan says to the test's own program that it is the process for the build
// with Vulkan: both builds have a libggml-base.so, so one process holds one.
const onVulkan = "GGML_TEST_VULKAN"

// A GPU without a GPU: Mesa's lavapipe computes what a Vulkan driver is told to.
// The first token waits for its compiler, a minute on a busy machine: the shaders
// stay in the cache of the machine's user.
func TestVulkan(t *testing.T) {
	dir := libraryDir(t, "ggml-vulkan")
	if os.Getenv(onVulkan) == "" {
		drivers, err := filepath.Glob("/usr/share/vulkan/icd.d/lvp_icd.*.json")
		if err != nil || len(drivers) == 0 {
			t.Skipf("Mesa's lavapipe is not installed (.ci/deps vulkan): %v", err)
		}
		cache, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		cache = filepath.Join(cache, "runw-build", "shaders")
		if err := os.MkdirAll(cache, 0o700); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestVulkan$", "-test.v", "-test.timeout=8m")
		cmd.Env = append(os.Environ(), onVulkan+"=1", "VK_ICD_FILENAMES="+drivers[0], "MESA_SHADER_CACHE_DIR="+cache)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		t.Logf("%s", out)
		return
	}
	log := new(lines)
	b := openVulkan(t, dir, log)
	list, err := b.Devices()
	if err != nil || len(list) != 2 {
		t.Fatalf("devices %+v, %v", list, err)
	}
	for _, d := range list {
		if d.GPU && (d.Name != "Vulkan0" || !d.Software || !strings.Contains(d.Description, "llvmpipe")) {
			t.Errorf("device %+v", d)
		}
	}
	file := []*os.File{modelFile(t, successor(t))}
	config := []byte(`{"threads":1,"n-predict":12,"temp":0}`)
	for _, target := range []accel.Target{accel.TargetGPU, accel.TargetAuto} {
		before := strings.Count(log.String(), "offloaded 3/3 layers to GPU")
		g, err := b.Load(context.Background(), accel.Model{Files: file, Config: config, Target: target})
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		if n := strings.Count(log.String(), "offloaded 3/3 layers to GPU"); n != before+1 {
			t.Errorf("target %d: log:\n%s", target, log)
		}
		if target == accel.TargetAuto {
			continue
		}
		c, err := g.NewContext()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		input(t, c, 0, "abc")
		if err := c.Compute(context.Background()); err != nil || output(t, c, 0) != "defghijklmno" {
			t.Errorf("%v, %q", err, c.(*execution).output)
		}
	}
	// The device that is there, and is not granted.
	for _, g := range []accel.Grants{{}, {Nodes: []string{"/dev/dri/renderD128"}}} {
		refusing := *b
		refusing.grants = readGrants(g, t.TempDir(), t.TempDir())
		_, err := refusing.Load(context.Background(), accel.Model{Files: file, Target: accel.TargetGPU})
		if !errors.Is(err, accel.ErrUnsupportedOperation) || !strings.Contains(err.Error(), "llvmpipe") {
			t.Errorf("granted %+v: %v", g, err)
		}
		before := strings.Count(log.String(), "layers to GPU")
		loaded, err := refusing.Load(context.Background(), accel.Model{Files: file, Target: accel.TargetAuto})
		if err != nil {
			t.Fatal(err)
		}
		loaded.Close()
		if strings.Count(log.String(), "layers to GPU") != before {
			t.Errorf("granted %+v: log:\n%s", g, log)
		}
		if !strings.Contains(log.String(), "target AUTO: the CPU: no GPU to compute on: granted: ") {
			t.Errorf("granted %+v: log:\n%s", g, log)
		}
	}
	t.Logf("log:\n%s", log)
}

func openVulkan(t *testing.T, dir string, log *lines) *Backend {
	t.Helper()
	opened, err := Open(accel.Options{
		LibraryDirs: []string{dir},
		Grants:      accel.Grants{Nodes: []string{"/dev/dri/renderD128"}, Software: true},
		Log:         log.add,
	})
	if err != nil {
		t.Fatal(err)
	}
	return opened.(*Backend)
}
