package clients

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/runw/runw/integration/bundle"
	"github.com/runw/runw/integration/guests"
)

// The images, made on the spot. Both have an entrypoint that knows the same verbs: hello,
// exit N, sleep SECONDS, cat, args, env, read PATH, write PATH TEXT, ls PATH, terminal.
const (
	nativeImage = "localhost/native:latest" // busybox
	wasmImage   = "localhost/wasm:latest"   // FROM scratch, /hello.wasm, platform wasi/wasm
	httpImage   = "localhost/http:latest"   // FROM scratch, /http.wasm, a server, and /hello.wasm
	pauseImage  = "localhost/pause:latest"  // what holds a pod's namespaces
)

// asLinux ends the name of the same image's archive for a client that knows no wasi/wasm.
const asLinux = ".linux.tar"

// workload is one of the two kinds that each row runs.
type workload struct {
	name, image, program, hello string
}

var workloads = []workload{
	{"native", nativeImage, "/probe", "hello from busybox"},
	{"wasm", wasmImage, "/hello.wasm", "hello from C"},
}

// probe speaks the verbs of guests/c/probe.c.
const probe = `#!/bin/sh
verb=$1
shift
case $verb in
hello|'') echo hello from busybox ;;
exit) exit "$1" ;;
sleep) trap 'exit 143' TERM; echo asleep; sleep "$1" & wait ;;
cat) cat ;;
args) i=1; echo 0=/probe; echo 1=args; for a; do i=$((i+1)); echo "$i=$a"; done ;;
env) env ;;
read) cat "$1" || { echo "$1: failed"; exit 1; } ;;
write) echo -n "$2" >"$1" || { echo "$1: failed"; exit 1; }; echo "$1: written" ;;
ls) ls -a "$1" ;;
terminal) for fd in 0 1 2; do [ -t $fd ] && echo fd $fd is a terminal || echo fd $fd is no terminal; done; read -r line && echo "read $line" ;;
*) exit 64 ;;
esac
`

// entry is one file of an image's only layer.
type entry struct {
	name    string
	mode    int64
	content []byte
	link    string
}

// descriptor, config and the rest are those of the OCI image specification; the archive is
// at once an OCI layout and what `docker save` writes, so that every client loads it.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Platform    map[string]string `json:"platform,omitempty"`
}

func describe(mediaType string, content []byte) descriptor {
	return descriptor{MediaType: mediaType, Digest: fmt.Sprintf("sha256:%x", sha256.Sum256(content)), Size: len(content)}
}

func (d descriptor) blob() string { return "blobs/sha256/" + d.Digest[len("sha256:"):] }

// archive writes an image of one layer to a tar file.
func archive(path, name, system, arch string, entrypoint []string, files []entry) error {
	layer, err := tape(files)
	if err != nil {
		return err
	}
	layerDesc := describe("application/vnd.oci.image.layer.v1.tar", layer)
	command := []string{"hello"}
	if name == pauseImage {
		command = nil
	}
	config := encode(map[string]any{
		"os": system, "architecture": arch,
		"config":  map[string]any{"Entrypoint": entrypoint, "Cmd": command, "Env": []string{"PATH=/bin", "GREETING=good day"}},
		"rootfs":  map[string]any{"type": "layers", "diff_ids": []string{layerDesc.Digest}},
		"history": []map[string]string{{"created_by": "integration/clients"}},
	})
	configDesc := describe("application/vnd.oci.image.config.v1+json", config)
	manifest := encode(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
		"config": configDesc, "layers": []descriptor{layerDesc},
	})
	manifestDesc := describe("application/vnd.oci.image.manifest.v1+json", manifest)
	manifestDesc.Annotations = map[string]string{"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}
	manifestDesc.Platform = map[string]string{"os": system, "architecture": arch}
	content, err := tape([]entry{
		{name: "oci-layout", mode: 0o644, content: []byte(`{"imageLayoutVersion":"1.0.0"}`)},
		{name: "index.json", mode: 0o644, content: encode(map[string]any{"schemaVersion": 2, "manifests": []descriptor{manifestDesc}})},
		{name: "manifest.json", mode: 0o644, content: encode([]map[string]any{
			{"Config": configDesc.blob(), "RepoTags": []string{name}, "Layers": []string{layerDesc.blob()}},
		})},
		{name: layerDesc.blob(), mode: 0o644, content: layer},
		{name: configDesc.blob(), mode: 0o644, content: config},
		{name: manifestDesc.blob(), mode: 0o644, content: manifest},
	})
	if err != nil {
		return err
	}
	return os.WriteFile(path, content, 0o644)
}

func encode(value any) []byte {
	content, err := json.Marshal(value)
	if err != nil {
		panic(err) // maps of strings
	}
	return content
}

func tape(files []entry) ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range files {
		header := &tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.content)), Typeflag: tar.TypeReg, Linkname: f.link}
		switch {
		case f.link != "":
			header.Typeflag = tar.TypeSymlink
		case f.content == nil:
			header.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.content); err != nil {
			return nil, err
		}
	}
	return buf.Bytes(), w.Close()
}

// imageFiles are the archives of the images, made once.
var imageFiles = sync.OnceValues(func() (map[string]string, error) {
	native, err := busybox()
	if err != nil {
		return nil, err
	}
	pause, err := os.ReadFile(bundle.Busybox)
	if err != nil {
		return nil, err
	}
	hello, err := wasm("hello.wasm", "c/probe")
	if err != nil {
		return nil, err
	}
	server, err := wasm("http.wasm", "c/http")
	if err != nil {
		return nil, err
	}
	list := map[string]string{}
	for _, image := range []struct {
		name, system, arch string
		entrypoint         []string
		files              []entry
	}{
		{nativeImage, "linux", "amd64", []string{"/probe"}, native},
		{pauseImage, "linux", "amd64", []string{"/sleep", "infinity"}, []entry{{name: "sleep", mode: 0o755, content: pause}}},
		{wasmImage, "wasi", "wasm", []string{"/hello.wasm"}, []entry{hello}},
		{httpImage, "wasi", "wasm", []string{"/http.wasm"}, []entry{server, hello}},
	} {
		path := filepath.Join(tmp, strings.NewReplacer("/", "-", ":", "-").Replace(image.name)+".tar")
		if err := archive(path, image.name, image.system, image.arch, image.entrypoint, image.files); err != nil {
			return nil, err
		}
		list[image.name] = path
		if err := archive(path+asLinux, image.name, "linux", "amd64", image.entrypoint, image.files); err != nil {
			return nil, err
		}
	}
	return list, nil
})

// wasm builds a guest. It has no +x: a module needs none.
func wasm(name, guest string) (entry, error) {
	module, err := guests.Build(guest)
	if err != nil {
		return entry{}, err
	}
	content, err := os.ReadFile(module)
	return entry{name: name, mode: 0o644, content: content}, err
}

func busybox() ([]entry, error) {
	content, err := os.ReadFile(bundle.Busybox)
	if err != nil {
		return nil, err
	}
	files := []entry{
		{name: "bin", mode: 0o755}, {name: "etc", mode: 0o755}, {name: "tmp", mode: 0o1777}, {name: "mnt", mode: 0o755},
		{name: "etc/passwd", mode: 0o644, content: []byte("root:x:0:0::/:/bin/sh\nguest:x:1000:1000::/:/bin/sh\n")},
		{name: "etc/group", mode: 0o644, content: []byte("root:x:0:\nguest:x:1000:\n")},
		{name: "bin/busybox", mode: 0o755, content: content},
		{name: "probe", mode: 0o755, content: []byte(probe)},
	}
	for _, name := range []string{"sh", "true", "cat", "echo", "sleep", "env", "ls", "id", "kill", "ps", "nc", "wget", "httpd", "stat", "grep", "test", "head", "dd", "mkdir", "ip", "cp", "mv", "cmp", "chmod", "hostname", "touch"} {
		files = append(files, entry{name: "bin/" + name, mode: 0o777, link: "busybox"})
	}
	return files, nil
}

// images returns the archives' paths by the images' names.
func images(t *testing.T) map[string]string {
	t.Helper()
	list, err := imageFiles()
	must(t, err)
	return list
}
