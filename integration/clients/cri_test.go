package clients

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// handler is the name of the runtime in containerd's configuration and in the RuntimeClass.
const handler = "runw"

// kubelet asks of containerd what a kubelet does, over the same API.
type kubelet struct {
	t       *testing.T
	runtime cri.RuntimeServiceClient
	ctx     context.Context
}

func newKubelet(t *testing.T) kubelet {
	t.Helper()
	ctr(t, "k8s.io") // the namespace of the CRI plugin
	conn, err := grpc.NewClient("unix://"+containerdSocket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	t.Cleanup(cancel)
	k := kubelet{t, cri.NewRuntimeServiceClient(conn), ctx}
	// containerd answers others before its CRI plugin has read what runs.
	await(t, "the CRI plugin", func() bool {
		_, err := k.runtime.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{})
		return err == nil
	})
	return k
}

// pod is one pod sandbox and its containers by their names.
type pod struct {
	k          kubelet
	id         string
	config     *cri.PodSandboxConfig
	containers map[string]string
}

// sandbox runs a pod's sandbox below the runtime handler.
func (k kubelet) sandbox(name, handler string, annotations map[string]string) (*pod, error) {
	return k.sandboxWith(name, handler, annotations, nil)
}

func (k kubelet) sandboxWith(name, handler string, annotations map[string]string, security *cri.LinuxSandboxSecurityContext) (*pod, error) {
	logs := filepath.Join(tmp, "pods", name)
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return nil, err
	}
	config := &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: name, Uid: name, Namespace: "default"},
		Hostname:     name,
		LogDirectory: logs,
		Annotations:  annotations,
		Linux:        &cri.LinuxPodSandboxConfig{CgroupParent: "/" + cgroupPrefix + "/" + name, SecurityContext: security},
	}
	answer, err := k.runtime.RunPodSandbox(k.ctx, &cri.RunPodSandboxRequest{Config: config, RuntimeHandler: handler})
	if err != nil {
		return nil, fmt.Errorf("run the sandbox of pod %s: %w", name, err)
	}
	// What a failed test leaves is nobody else's failure; removing what is gone is no error.
	k.t.Cleanup(func() {
		_, _ = k.runtime.StopPodSandbox(k.ctx, &cri.StopPodSandboxRequest{PodSandboxId: answer.PodSandboxId})
		_, _ = k.runtime.RemovePodSandbox(k.ctx, &cri.RemovePodSandboxRequest{PodSandboxId: answer.PodSandboxId})
	})
	return &pod{k, answer.PodSandboxId, config, map[string]string{}}, nil
}

// start creates and starts a container in the pod.
func (p *pod) start(name, image string, args ...string) error {
	return p.startWith(containerConfig(name, image, args...))
}

func containerConfig(name, image string, args ...string) *cri.ContainerConfig {
	return &cri.ContainerConfig{
		Metadata:    &cri.ContainerMetadata{Name: name},
		Image:       &cri.ImageSpec{Image: image},
		Args:        args,
		LogPath:     name + ".log",
		Annotations: map[string]string{},
		Linux: &cri.LinuxContainerConfig{
			Resources: &cri.LinuxContainerResources{MemoryLimitInBytes: 128 << 20, CpuShares: 128, OomScoreAdj: 500},
		},
	}
}

func (p *pod) startWith(config *cri.ContainerConfig) error {
	name := config.Metadata.Name
	created, err := p.k.runtime.CreateContainer(p.k.ctx, &cri.CreateContainerRequest{PodSandboxId: p.id, Config: config, SandboxConfig: p.config})
	if err != nil {
		return fmt.Errorf("create container %s of pod %s: %w", name, p.config.Metadata.Name, err)
	}
	p.containers[name] = created.ContainerId
	if _, err := p.k.runtime.StartContainer(p.k.ctx, &cri.StartContainerRequest{ContainerId: created.ContainerId}); err != nil {
		return fmt.Errorf("start container %s of pod %s: %w", name, p.config.Metadata.Name, err)
	}
	return nil
}

// mixed runs the pod that this is all about: a native pause, a Wasm server and a native
// sidecar.
func (k kubelet) mixed(name string) (*pod, error) {
	p, err := k.sandbox(name, handler, map[string]string{"run.runw.net": "listen"})
	if err != nil {
		return nil, err
	}
	if err := p.start("app", httpImage, "8080"); err != nil {
		return p, err
	}
	return p, p.start("sidecar", nativeImage, "sleep", "3600")
}

// exec runs a command in a container and returns its status and its output.
func (p *pod) exec(name string, command ...string) (int32, string, error) {
	answer, err := p.k.runtime.ExecSync(p.k.ctx, &cri.ExecSyncRequest{ContainerId: p.containers[name], Cmd: command, Timeout: 30})
	if err != nil {
		return 0, "", fmt.Errorf("exec in %s of pod %s: %w", name, p.config.Metadata.Name, err)
	}
	return answer.ExitCode, string(answer.Stdout) + string(answer.Stderr), nil
}

func (p *pod) status(name string) *cri.ContainerStatus {
	p.k.t.Helper()
	answer, err := p.k.runtime.ContainerStatus(p.k.ctx, &cri.ContainerStatusRequest{ContainerId: p.containers[name]})
	must(p.k.t, err)
	return answer.Status
}

// stop gives a container half a minute to end by itself.
func (p *pod) stop(name string) error {
	_, err := p.k.runtime.StopContainer(p.k.ctx, &cri.StopContainerRequest{ContainerId: p.containers[name], Timeout: 30})
	return err
}

// remove stops and removes the pod with all that is in it.
func (p *pod) remove() error {
	for name, id := range p.containers {
		if err := p.stop(name); err != nil {
			return fmt.Errorf("stop %s of pod %s: %w", name, p.config.Metadata.Name, err)
		}
		if _, err := p.k.runtime.RemoveContainer(p.k.ctx, &cri.RemoveContainerRequest{ContainerId: id}); err != nil {
			return err
		}
	}
	if _, err := p.k.runtime.StopPodSandbox(p.k.ctx, &cri.StopPodSandboxRequest{PodSandboxId: p.id}); err != nil {
		return err
	}
	_, err := p.k.runtime.RemovePodSandbox(p.k.ctx, &cri.RemovePodSandboxRequest{PodSandboxId: p.id})
	return err
}

// nothingLeft fails the test if a pod's removal left a container's state, a mount or a cgroup.
func nothingLeft(t *testing.T) {
	t.Helper()
	for _, pattern := range []string{"/run/containerd/runc/k8s.io/*", "/run/containerd/io.containerd.runtime.v2.task/k8s.io/*"} {
		left, err := filepath.Glob(pattern)
		must(t, err)
		if len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	for _, line := range strings.Split(string(mounts), "\n") {
		if strings.Contains(line, " /run/containerd/") || strings.Contains(line, "/var/run/netns") || strings.Contains(line, " /run/netns/") {
			t.Errorf("mounted: %s", line)
		}
	}
	_ = walk(func(path string) error {
		// The pod's own is the kubelet's to remove.
		if _, below, _ := strings.Cut(path, "/"+cgroupPrefix+"/"); strings.Contains(below, "/") {
			t.Errorf("cgroup left: %s", path)
		}
		return nil
	})
}
