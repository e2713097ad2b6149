package oci

import (
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestExampleGolden pins what `runw spec` writes.
func TestExampleGolden(t *testing.T) {
	rootless := Example()
	ExampleRootless(rootless)
	rootlessWasm := ExampleWasm("/app.wasm")
	ExampleRootless(rootlessWasm)
	for name, spec := range map[string]*specs.Spec{
		"spec": Example(), "spec-rootless": rootless,
		"spec-wasm": ExampleWasm("/app.wasm"), "spec-wasm-rootless": rootlessWasm,
	} {
		if err := Validate(spec); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		neutral(spec)
		got, err := json.MarshalIndent(spec, "", "\t")
		if err != nil {
			t.Fatal(err)
		}
		file := "testdata/" + name + ".json"
		if *update {
			if err := os.WriteFile(file, append(got, '\n'), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if string(got)+"\n" != string(want) {
			t.Errorf("%s differs (-update rewrites it); got:\n%s", file, got)
		}
	}
}

// neutral takes out what depends on the machine: the caller's ids, and the cgroup
// namespace that only cgroup v2 gets.
func neutral(spec *specs.Spec) {
	for _, ids := range [][]specs.LinuxIDMapping{spec.Linux.UIDMappings, spec.Linux.GIDMappings} {
		for i := range ids {
			ids[i].HostID = 1000
		}
	}
	var kept []specs.LinuxNamespace
	for _, ns := range spec.Linux.Namespaces {
		if ns.Type != specs.CgroupNamespace {
			kept = append(kept, ns)
		}
	}
	spec.Linux.Namespaces = kept
}

// TestExampleIsRuncs compares with the runc that is installed, field by field.
func TestExampleIsRuncs(t *testing.T) {
	runc, err := exec.LookPath("runc")
	if err != nil {
		t.Skip("runc is not installed")
	}
	rootless := Example()
	ExampleRootless(rootless)
	for _, row := range []struct {
		flags []string
		spec  *specs.Spec
	}{
		{nil, Example()},
		{[]string{"--rootless"}, rootless},
	} {
		dir := t.TempDir()
		if out, err := exec.Command(runc, append([]string{"spec", "--bundle", dir}, row.flags...)...).CombinedOutput(); err != nil {
			t.Fatalf("runc spec: %v: %s", err, out)
		}
		data, err := os.ReadFile(dir + "/config.json")
		if err != nil {
			t.Fatal(err)
		}
		var want map[string]any
		if err := json.Unmarshal(data, &want); err != nil {
			t.Fatal(err)
		}
		compare(t, strings.Join(append([]string{"runc spec"}, row.flags...), " "), toMap(t, row.spec), want)
	}
}

// changed lists the fields that runc itself changed after 1.1.5 (Debian 12), with
// the values that it writes since.
var changed = map[string]string{
	".ociVersion":                   `"` + specs.Version + `"`,
	".process.capabilities.ambient": "null", // 1.2
	".linux.maskedPaths":            `["/proc/acpi","/proc/asound","/proc/kcore","/proc/keys","/proc/latency_stats","/proc/timer_list","/proc/timer_stats","/proc/sched_debug","/sys/firmware","/proc/scsi"]`,
}

func compare(t *testing.T, at string, got, want any) {
	t.Helper()
	g, gok := got.(map[string]any)
	w, wok := want.(map[string]any)
	if gok && wok {
		for k := range w {
			compare(t, at+"."+k, g[k], w[k])
		}
		for k := range g {
			if _, ok := w[k]; !ok {
				compare(t, at+"."+k, g[k], nil)
			}
		}
		return
	}
	if reflect.DeepEqual(got, want) {
		return
	}
	text, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	_, field, _ := strings.Cut(at, ".")
	if newer, ok := changed["."+field]; ok && newer == string(text) {
		return
	}
	t.Errorf("%s: got %s, want %v", at, text, want)
}

func toMap(t *testing.T, spec *specs.Spec) map[string]any {
	t.Helper()
	data, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestExampleShares: a caller may change one specification without another.
func TestExampleShares(t *testing.T) {
	a := Example()
	a.Process.Capabilities.Bounding[0] = "CAP_CHANGED"
	a.Mounts[1].Options[0] = "changed"
	a.Linux.MaskedPaths[0] = "/changed"
	if a.Process.Capabilities.Permitted[0] == "CAP_CHANGED" {
		t.Error("two capability sets share their array")
	}
	b := Example()
	if b.Process.Capabilities.Bounding[0] == "CAP_CHANGED" || b.Mounts[1].Options[0] == "changed" || b.Linux.MaskedPaths[0] == "/changed" {
		t.Error("two specifications share an array")
	}
}

func TestExampleRootlessOfNothing(t *testing.T) {
	spec := &specs.Spec{}
	ExampleRootless(spec)
	if len(spec.Linux.Namespaces) != 1 || spec.Linux.Namespaces[0].Type != specs.UserNamespace {
		t.Errorf("got %+v", spec.Linux)
	}
}
