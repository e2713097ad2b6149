package oci

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// BenchmarkLoadDetect is this package's part in the start of a container: the
// usual mounts, two bind mounts as engines add them, and a module in PATH.
func BenchmarkLoadDetect(b *testing.B) {
	for _, row := range []struct{ name, arg string }{{"Module", "/app.wasm"}, {"InPath", "app"}, {"Native", "/sh"}} {
		b.Run(row.name, func(b *testing.B) {
			bundle := newBundle(b, nil, "app.wasm=@wasm", "usr/bin/app=@wasm", "bin->usr/bin", "sh*=@elf",
				"etc/hosts=", "etc/resolv.conf=", "proc/", "sys/", "dev/")
			spec := Example()
			spec.Process.Args = []string{row.arg}
			for _, f := range []string{"/etc/hosts", "/etc/resolv.conf"} {
				spec.Mounts = append(spec.Mounts, specs.Mount{Destination: f, Source: f, Type: "bind", Options: []string{"rbind", "rprivate"}})
			}
			data, err := json.Marshal(spec)
			if err != nil {
				b.Fatal(err)
			}
			if err := os.WriteFile(bundle.Dir+"/config.json", data, 0o644); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				loaded, err := Load(bundle.Dir)
				if err != nil {
					b.Fatal(err)
				}
				w, err := Detect(loaded)
				if err != nil {
					b.Fatal(err)
				}
				if (w.Kind == Module) != (row.name != "Native") {
					b.Fatal(w.Why)
				}
				if w.Module != nil {
					w.Module.Close()
				}
			}
		})
	}
}
