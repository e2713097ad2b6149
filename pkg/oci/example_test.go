package oci_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/runw/runw/pkg/oci"
)

// The start of a container: load its bundle, and see what it runs.
func Example() {
	dir, err := os.MkdirTemp("", "bundle")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	config := `{"ociVersion": "1.3.0", "root": {"path": "rootfs"}, "process": {"cwd": "/", "args": ["/app"]}}`
	for name, content := range map[string]string{"config.json": config, "rootfs/app": "\x00asm\x01\x00\x00\x00"} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			fmt.Println(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			fmt.Println(err)
		}
	}

	b, err := oci.Load(dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	w, err := oci.Detect(b)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer w.Module.Close()
	fmt.Println(w.Kind, w.Path, "by", w.Why)
	// Output: module /app by magic bytes of /app
}

func ExampleParseSpec() {
	_, err := oci.ParseSpec(strings.NewReader(`{"process": {"cwd": "/", "args": ["sh", 1]}}`))
	fmt.Println(err)
	_, err = oci.ParseSpec(strings.NewReader(`{"process": {"cwd": "tmp", "args": ["sh"]}}`))
	fmt.Println(err)
	// Output:
	// process.args[1]: expected string, got number (line 1)
	// process.cwd: Cwd must be an absolute path, got "tmp"
}

func ExamplePreopens() {
	list, err := oci.Preopens(&specs.Spec{
		Process:     &specs.Process{Cwd: "/srv"},
		Annotations: map[string]string{oci.AnnotationPreopens: "/data=/var/lib/app,.:ro"},
	})
	fmt.Println(err)
	for _, p := range list {
		fmt.Printf("%s is %s, read-only %v\n", p.Name, p.Path, p.ReadOnly)
	}
	// Output:
	// <nil>
	// . is /srv, read-only true
	// /data is /var/lib/app, read-only false
}

func ExampleExampleWasm() {
	spec := oci.ExampleWasm("/app.wasm")
	for _, m := range spec.Mounts {
		fmt.Println(m.Type, m.Destination)
	}
	fmt.Println(spec.Process.Args, spec.Process.Terminal, spec.Root.Readonly)
	// Output:
	// proc /proc
	// tmpfs /dev
	// devpts /dev/pts
	// [/app.wasm] false true
}
