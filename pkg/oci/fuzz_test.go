package oci

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// FuzzParseSpec: no input panics; what is accepted is valid, has what Detect
// relies on, and stays valid when written and read again.
func FuzzParseSpec(f *testing.F) {
	f.Add([]byte(minimal))
	for _, spec := range []*specs.Spec{Example(), ExampleWasm("/app.wasm")} {
		data, err := json.Marshal(spec)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, s := range []string{
		"", "null", "[", `{"process":{"args":[1]}}`, `{"mounts":[{"options":[[]]}]}`, `{"annotations":{"a.b":{}}}`,
		`{"process":{"env":["A","=","A=\u0000"],"args":["a"],"cwd":"/"},"root":{}}`, "{\"\n\":", `{"linux":{"namespaces":[{"type":7}]}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		spec, err := ParseSpec(bytes.NewReader(data))
		if err != nil {
			if err.Error() == "" || spec != nil {
				t.Errorf("spec %v with error %q", spec, err)
			}
			return
		}
		if spec.Root == nil || spec.Process == nil || len(spec.Process.Args) == 0 || spec.Process.Cwd[0] != '/' {
			t.Fatalf("accepted %s", data)
		}
		list, err := Preopens(spec)
		for _, p := range list {
			if err != nil || p.Path[0] != '/' || strings.IndexByte(p.Name, 0) >= 0 {
				t.Errorf("preopen %+v, %v", p, err)
			}
		}
		again, err := json.Marshal(spec)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseSpec(bytes.NewReader(again)); err != nil {
			t.Errorf("%s\nread, written and read again: %v", again, err)
		}
	})
}

// FuzzDetect: whatever the tree, a module that is opened lies in the rootfs or in
// the source of a bind mount, is a regular file with Wasm's magic bytes, and
// nothing hangs or leaks a descriptor.
func FuzzDetect(f *testing.F) {
	for _, s := range []string{
		"", "\x01\x00\x00\x00\x00", "\x00\x03\x00\x01\x00\x01\x00\x00\x00",
		"\x00\x03\x00\x00\x02\x00\x00", "\x00\x03\x00\x00\x03\x01\x00\x00", "\x02\x00\x00\x00\x00\x00\x05\x00\x00\x00\x00\x01\x00\x00\x01\x00\x00",
		"\x00\x06\x00\x00\x00\x05\x00\x00\x00\x01\x00\x07\x00\x01", strings.Repeat("\x00\x03\x01\x02\x04", 12), strings.Repeat("\x02\x03\x05\x01", 20),
	} {
		f.Add([]byte(s), "", false)
		f.Add([]byte(s), "a#b", true)
	}
	f.Fuzz(func(t *testing.T, data []byte, arg string, forced bool) {
		dir := hostDir(t)
		c := choices(data)
		b := hostileBundle(t, dir, &c)
		b.Spec.Process.Env = []string{"PATH=/a:b:../c:" + dir + "/secret"}
		if arg != "" {
			b.Spec.Process.Args = []string{arg}
		}
		if forced {
			b.Spec.Annotations = map[string]string{AnnotationHandler: HandlerWasm}
		}
		if Validate(b.Spec) != nil {
			return
		}
		before, start := openFiles(t), time.Now()
		w, err := Detect(b)
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("took %v", took)
		}
		if err == nil && w.Module != nil {
			checkInside(t, b, w)
			w.Module.Close()
		}
		if err == nil && forced && w.Kind == Native {
			t.Errorf("forced, and native: %+v", w)
		}
		if after := openFiles(t); after != before {
			t.Errorf("%d descriptors before, %d after", before, after)
		}
	})
}

func checkInside(t *testing.T, b *Bundle, w *Workload) {
	real, err := os.Readlink(procFD(int(w.Module.Fd())))
	if err != nil {
		t.Fatal(err)
	}
	allowed := []string{filepath.Join(b.Dir, "rootfs")}
	for _, m := range b.Spec.Mounts {
		if len(m.Options) == 0 {
			continue
		}
		source, err := filepath.EvalSymlinks(filepath.Join(b.Dir, m.Source))
		if err == nil {
			allowed = append(allowed, source)
		}
	}
	inside := false
	for _, dir := range allowed {
		inside = inside || real == dir || strings.HasPrefix(real, dir+"/")
	}
	if !inside {
		t.Errorf("%q opened %s, outside of %q", b.Spec.Process.Args, real, allowed)
	}
	head := make([]byte, 8)
	if _, err := w.Module.ReadAt(head, 0); err != nil || !bytes.HasPrefix(head, []byte("\x00asm")) {
		t.Errorf("%s starts with %x, %v", real, head, err)
	}
	if fi, err := w.Module.Stat(); err != nil || !fi.Mode().IsRegular() {
		t.Errorf("%s is %v, %v", real, fi.Mode(), err)
	}
}
