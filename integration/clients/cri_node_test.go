package clients

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// containerd's restart, with which a new configuration is read, ends no pod, and it finds
// them again.
func TestCRIRestart(t *testing.T) {
	p, err := newKubelet(t).mixed("survivor")
	must(t, err)
	must(t, containerd.Process.Signal(syscall.SIGTERM))
	_ = containerd.Wait()
	must(t, runContainerd())
	p.k = newKubelet(t)
	for name, argv := range map[string][]string{"app": {"/hello.wasm", "hello"}, "sidecar": {"wget", "-q", "-O", "-", "http://127.0.0.1:8080/"}} {
		if s := p.status(name); s.State != cri.ContainerState_CONTAINER_RUNNING {
			t.Errorf("%s: %v", name, s)
		}
		if code, out, err := p.exec(name, argv...); code != 0 || err != nil {
			t.Errorf("%s: %d, %q, %v", name, code, out, err)
		}
	}
	must(t, p.remove())
	nothingLeft(t)
}

// containerd 2 asks `runw features` what its pods may have, and tells the kubelet.
func TestCRIFeatures(t *testing.T) {
	k := newKubelet(t)
	status, err := k.runtime.Status(k.ctx, &cri.StatusRequest{})
	must(t, err)
	for _, condition := range status.Status.Conditions {
		if ready := strings.HasSuffix(condition.Type, "Ready"); ready && !condition.Status {
			t.Errorf("%v", condition)
		}
	}
	if os.Getenv("CONTAINERD") == "" {
		skip(t, "containerd 1.6 does not tell of handlers")
	}
	features := map[string]*cri.RuntimeHandlerFeatures{}
	for _, h := range status.RuntimeHandlers {
		features[h.Name] = h.Features
	}
	if f := features[handler]; !f.GetUserNamespaces() || f.GetRecursiveReadOnlyMounts() != features["runc"].GetRecursiveReadOnlyMounts() {
		t.Errorf("runw: %v, runc: %v", f, features["runc"])
	}
}

// A pod with `hostUsers: false`: its root is nobody of the node's, its volumes are mapped.
func TestCRIUserNamespace(t *testing.T) {
	k := newKubelet(t)
	if os.Getenv("CONTAINERD") == "" {
		skip(t, "containerd 1.6 has no user namespaces for pods")
	}
	ids := []*cri.IDMapping{{HostId: 300000, ContainerId: 0, Length: 65536}}
	p, err := k.sandboxWith("mapped", handler, nil, &cri.LinuxSandboxSecurityContext{
		NamespaceOptions: &cri.NamespaceOption{UsernsOptions: &cri.UserNamespace{Mode: cri.NamespaceMode_POD, Uids: ids, Gids: ids}},
	})
	must(t, err)
	dir := shared(t)
	start := func(name, image string, args ...string) {
		t.Helper()
		config := containerConfig(name, image, args...)
		config.Linux.SecurityContext = &cri.LinuxContainerSecurityContext{NamespaceOptions: p.config.Linux.SecurityContext.NamespaceOptions}
		config.Mounts = []*cri.Mount{{ContainerPath: "/mnt", HostPath: dir, UidMappings: ids, GidMappings: ids}}
		must(t, p.startWith(config))
	}
	for _, w := range workloads {
		start(w.name, w.image, "write", "/mnt/"+w.name, "mapped")
		await(t, "the container's end", func() bool { return p.status(w.name).State == cri.ContainerState_CONTAINER_EXITED })
		if s := p.status(w.name); s.ExitCode != 0 {
			t.Errorf("%s: %v", w.name, s)
		}
		info, err := os.Stat(filepath.Join(dir, w.name))
		must(t, err)
		if owner := info.Sys().(*syscall.Stat_t).Uid; owner != 0 {
			t.Errorf("%s: the volume's file belongs to %d", w.name, owner)
		}
	}
	start("sleeper", wasmImage, "sleep", "3600")
	code, out, err := p.exec("sleeper", "/hello.wasm", "hello")
	if code != 0 || err != nil {
		t.Errorf("exec: %d, %q, %v", code, out, err)
	}
	// Whichever process is the pod's, none is the node's root.
	found := 0
	maps, err := filepath.Glob("/proc/[0-9]*/uid_map")
	must(t, err)
	for _, path := range maps {
		if content, err := os.ReadFile(path); err == nil && strings.Join(strings.Fields(string(content)), " ") == fmt.Sprintf("0 %d 65536", ids[0].HostId) {
			found++
		}
	}
	if found < 2 {
		t.Errorf("%d processes in the user namespace, want pause and module", found)
	}
	must(t, p.remove())
}
