package onnx

import (
	"context"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/runw/runw/pkg/accel"
	"github.com/runw/runw/pkg/accel/onnx/model"
)

// direct builds the C program that calls the library without any of this.
func direct(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "direct")
	if out, err := exec.Command("cc", "-O2", "-o", path, "testdata/direct.c", "-ldl").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

// A real model: silero's voice activity detector, with a state that goes from one
// frame to the next, gives the very bits that it gives a C program.
func TestVAD(t *testing.T) {
	const frames = 64
	b, _ := open(t, accel.Grants{})
	path := filepath.Join(libraryDir(t), "../models/silero_vad_v5.onnx")
	out, err := exec.Command(direct(t), "vad", b.lib.path, path, strconv.Itoa(frames)).Output()
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Fields(string(out))
	if len(want) != frames {
		t.Fatalf("%d probabilities of %d frames", len(want), frames)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	g, err := b.Load(context.Background(), accel.Model{Files: []*os.File{f}})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	x := newContext(t, g)
	state, seed := make([]byte, 4*2*128), uint32(1)
	var got [frames]float32
	for frame := range frames {
		input := make([]float32, 512)
		for i := range input {
			if frame >= 10 {
				seed = seed*1664525 + 1013904223
				input[i] = (float32(seed>>16)/32768 - 1) * float32(frame%8) / 8
			}
		}
		set(t, x, 0, accel.F32, []uint32{1, 512}, model.Floats(input...))
		set(t, x, 1, accel.F32, []uint32{2, 1, 128}, state)
		set(t, x, 2, accel.I64, nil, binary.LittleEndian.AppendUint64(nil, 16000))
		compute(t, x)
		got[frame] = floats(output(t, x, 0))[0]
		state = output(t, x, 1)
		if p, err := strconv.ParseFloat(want[frame], 32); err != nil || float32(p) != got[frame] {
			t.Errorf("frame %d: %v, a C program gets %v (%s)", frame, got[frame], p, want[frame])
		}
	}
	if silent := got[9]; silent <= 0 || silent > 0.01 || got[0] < 4*silent {
		t.Errorf("silence starts with %v and comes to %v", got[0], silent)
	}
}
