package ggml

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/runw/runw/pkg/accel"
)

// machine writes what a kernel with three GPUs shows of them.
func machine(t *testing.T) (sys, proc string) {
	t.Helper()
	sys, proc = t.TempDir(), t.TempDir()
	for node, target := range map[string]string{
		"renderD128": "../../../0000:c1:00.0", "card0": "../../../0000:C1:00.0", "renderD129": "../../../13000000.gpu",
	} {
		dir := filepath.Join(sys, "class/drm", node)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, filepath.Join(dir, "device")); err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(proc, "driver/nvidia/gpus/0000:41:00.0")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	const information = "Model: \t\t A card\nBus Location: \t 0000:41:00.0\nDevice Minor: \t 1\n"
	if err := os.WriteFile(filepath.Join(dir, "information"), []byte(information), 0o600); err != nil {
		t.Fatal(err)
	}
	return sys, proc
}

func TestGrants(t *testing.T) {
	sys, proc := machine(t)
	gpu := func(bus string) device { return device{Device: accel.Device{GPU: true}, bus: bus} }
	software := device{Device: accel.Device{GPU: true, Software: true}}
	for _, c := range []struct {
		name  string
		grant accel.Grants
		d     device
		want  bool
	}{
		{"nothing granted", accel.Grants{}, gpu("0000:c1:00.0"), false},
		{"its render node", accel.Grants{Nodes: []string{"/dev/dri/renderD128"}}, gpu("0000:c1:00.0"), true},
		{"its card", accel.Grants{Nodes: []string{"/dev/dri/card0"}}, gpu("0000:c1:00.0"), true},
		{"another's node", accel.Grants{Nodes: []string{"/dev/dri/renderD128"}}, gpu("0000:41:00.0"), false},
		{"a node that is not there", accel.Grants{Nodes: []string{"/dev/dri/renderD200"}}, gpu("0000:c1:00.0"), false},
		{"NVIDIA's node", accel.Grants{Nodes: []string{"/dev/nvidia1"}}, gpu("0000:41:00.0"), true},
		{"NVIDIA's other node", accel.Grants{Nodes: []string{"/dev/nvidia0"}}, gpu("0000:41:00.0"), false},
		{"NVIDIA's control node", accel.Grants{Nodes: []string{"/dev/nvidiactl"}}, gpu("0000:41:00.0"), false},
		{"a part of the chip", accel.Grants{Nodes: []string{"/dev/dri/renderD129"}}, gpu(""), true},
		{"no part of the chip", accel.Grants{Nodes: []string{"/dev/dri/renderD128"}}, gpu(""), false},
		{"software", accel.Grants{Nodes: []string{"/dev/dri/renderD129"}}, software, false},
		{"software with the host's leave", accel.Grants{Nodes: []string{"/dev/x"}, Software: true}, software, true},
		{"software without a node", accel.Grants{Software: true}, software, false},
		{"a CPU", accel.Grants{Nodes: []string{"/dev/dri/renderD129"}, Software: true}, device{}, false},
	} {
		if got := readGrants(c.grant, sys, proc).allows(c.d); got != c.want {
			t.Errorf("%s: %t, want %t", c.name, got, c.want)
		}
	}
	text := readGrants(accel.Grants{Nodes: []string{"/dev/dri/card0"}}, sys, proc).refusal([]device{
		{Device: accel.Device{Name: "CPU"}}, {Device: accel.Device{Name: "Vulkan0", Description: "llvmpipe", GPU: true, Software: true}},
		{Device: accel.Device{Name: "CUDA0", Description: "A card", GPU: true}, bus: "0000:41:00.0"},
	})
	const want = "no GPU to compute on: granted: /dev/dri/card0; found by llama.cpp: Vulkan0 (llvmpipe, software), CUDA0 (A card, 0000:41:00.0)"
	if text != want {
		t.Errorf("%q, want %q", text, want)
	}
}

func TestLog(t *testing.T) {
	var got []string
	l := &libraryLog{out: func(line string) { got = append(got, line) }, least: levelError}
	l.write(levelInfo, "told only if asked\n")
	l.write(levelInfo, "load: offloaded 3/3 layers to GPU\nload: offloaded 0/3 layers to GPU\n")
	l.write(levelError, "a fault of two")
	l.write(levelContinue, " pieces\nand a second line\n")
	l.write(levelError, "\x1b[31mred\n"+strings.Repeat("é", 2000)+"\n")
	if text := l.takeError(); len(text) > maxLine+3 || !strings.HasPrefix(text, "éé") {
		t.Errorf("last error %q", text)
	}
	if text := l.takeError(); text != "no reason given" {
		t.Errorf("after it %q", text)
	}
	l.setLevel(runOptions{log: true})
	l.write(levelInfo, "asked for\n")
	l.write(levelDebug, "too much\n")
	want := []string{"load: offloaded 3/3 layers to GPU", "a fault of two pieces", "and a second line", "?[31mred", "", "asked for"}
	if len(got) != len(want) {
		t.Fatalf("%d lines: %q", len(got), got)
	}
	for i := range want {
		if want[i] != "" && got[i] != want[i] {
			t.Errorf("line %d %q, want %q", i, got[i], want[i])
		}
	}
}
