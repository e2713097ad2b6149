package clients

import (
	"os"
	"testing"
	"time"
)

// The annotations say what a module is, where the content alone would not be asked.
func TestPodmanAnnotations(t *testing.T) {
	c := podman(t)
	for _, annotation := range []string{
		"run.oci.handler=wasm", "run.oci.handler=wasm-smart", "module.wasm.image/variant=compat", "module.wasm.image/variant=compat-smart",
		"run.runw.engine=wazero",
	} {
		c.run("run", "--rm", "--annotation", annotation, wasmImage).ok().says("hello from C")
	}
	for _, annotation := range []string{"run.oci.handler=wasm", "module.wasm.image/variant=compat"} {
		c.run("run", "--rm", "--annotation", annotation, nativeImage).exits(126).says("/probe")
	}
	c.run("run", "--rm", "--annotation", "run.oci.handler=wasm-smart", nativeImage).ok().says("hello from busybox")
	c.run("run", "--rm", "--annotation", "run.runw.trace=true", wasmImage).ok().says("fd_write")
	// podman before 4.6 passes an image's annotations on as it does those of the command line.
	dir := t.TempDir()
	write(t, dir+"/Containerfile", "FROM "+wasmImage+"\n", 0o644)
	c.run("build", "--annotation", "run.runw.trace=true", "--tag", "localhost/traced", dir).ok()
	c.run("run", "--rm", "localhost/traced").ok().says("hello from C", "fd_write")
	c.run("rmi", "localhost/traced").ok()
}

// What `podman build` makes of a Containerfile with one module in it runs.
func TestPodmanBuildScratch(t *testing.T) {
	c := podman(t)
	dir := t.TempDir()
	write(t, dir+"/Containerfile", "FROM "+wasmImage+" AS module\nFROM scratch\nCOPY --from=module /hello.wasm /\nENTRYPOINT [\"/hello.wasm\"]\n", 0o644)
	c.run("build", "--platform", "wasi/wasm", "--tag", "localhost/built", dir).ok()
	c.run("inspect", "--format", "{{.Os}}/{{.Architecture}}", "localhost/built").ok().says("wasi/wasm")
	c.run("run", "--rm", "--platform", "wasi/wasm", "localhost/built").ok().says("hello from C")
	c.run("rmi", "localhost/built").ok()
}

// together fails the test unless the containers share a network namespace of their own.
func together(c client, ids ...string) {
	c.t.Helper()
	spaces := map[string]bool{}
	for _, id := range ids {
		pid := c.run("inspect", "--format", "{{.State.Pid}}", id).ok().text()
		space, err := os.Readlink("/proc/" + pid + "/ns/net")
		must(c.t, err)
		spaces[space] = true
	}
	if own, err := os.Readlink("/proc/self/ns/net"); err != nil || len(spaces) != 1 || spaces[own] {
		c.t.Errorf("network namespaces %v, the host's is %s, %v", spaces, own, err)
	}
}

// Each kind joins a container of the other, without a pod.
func TestPodmanJoin(t *testing.T) {
	c := podman(t)
	for i, w := range workloads {
		first := begun(c, w)
		together(c, first, begun(c, workloads[1-i], "--network", "container:"+first, "--ipc", "container:"+first, "--pid", "container:"+first))
	}
}

// A Wasm server and a native client in one pod with an infra container: they meet on the
// loopback device of the pod's network namespace.
func podmanPod(c client) (server, sidecar string) {
	t := c.t
	t.Helper()
	c.run("pod", "create", "--name", "mixed", "--network", "none").ok()
	t.Cleanup(func() { c.run("pod", "rm", "--force", "--time", "0", "mixed") })
	server = c.run("run", "--detach", "--pod", "mixed", "--annotation", "run.runw.net=listen", httpImage, "127.0.0.1:8080").ok().text()
	sidecar = begun(c, workloads[0], "--pod", "mixed")
	together(c, server, sidecar)
	await(t, "an answer of the Wasm server", func() bool {
		return c.run("exec", sidecar, "wget", "-q", "-O", "-", "http://127.0.0.1:8080/bytes/100").code == 0
	})
	c.run("pod", "ps", "--format", "{{.Name}} {{.Status}}").ok().says("mixed Running")
	return server, sidecar
}

func TestPodmanPod(t *testing.T) {
	c := podman(t)
	need(t, "catatonit")
	server, sidecar := podmanPod(c)
	c.run("pod", "top", "mixed", "args").ok().says("/http.wasm", "/probe")
	c.run("pod", "stats", "--no-stream", "mixed").ok().says(server[:12])
	c.run("pod", "pause", "mixed").ok()
	c.run("pod", "ps", "--format", "{{.Name}} {{.Status}}").ok().says("mixed Paused")
	c.run("pod", "unpause", "mixed").ok()
	c.run("exec", sidecar, "wget", "-q", "-O", "-", "http://127.0.0.1:8080/").ok()
	podStop(c)
}

// podStop stops the pod long before the patience of the command is over.
func podStop(c client) {
	c.t.Helper()
	begin := time.Now()
	c.run("pod", "stop", "--time", "60", "mixed").ok()
	if took := time.Since(begin); took > 40*time.Second {
		c.t.Errorf("SIGTERM was not heard: stopped after %v", took)
	}
	if out := c.run("ps", "--filter", "pod=mixed", "--quiet").ok().text(); out != "" {
		c.t.Errorf("still running: %s", out)
	}
}
