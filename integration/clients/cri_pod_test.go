package clients

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestCRIPod(t *testing.T) {
	k := newKubelet(t)
	p, err := k.mixed("mixed")
	must(t, err)
	sandbox, err := k.runtime.PodSandboxStatus(k.ctx, &cri.PodSandboxStatusRequest{PodSandboxId: p.id})
	must(t, err)
	if s := sandbox.Status; s.State != cri.PodSandboxState_SANDBOX_READY || s.RuntimeHandler != handler || s.Network.GetIp() == "" {
		t.Errorf("sandbox: %v", s)
	}
	for _, name := range []string{"app", "sidecar"} {
		if s := p.status(name); s.State != cri.ContainerState_CONTAINER_RUNNING {
			t.Errorf("%s: %v", name, s)
		}
	}

	// Ready: the probe of a kubelet, by exec and over the network, from the sidecar and from
	// another pod.
	await(t, "the server's answer to its sidecar", func() bool {
		code, _, err := p.exec("sidecar", "wget", "-q", "-O", "-", "http://127.0.0.1:8080/")
		return code == 0 && err == nil
	})
	other, err := k.sandbox("other", handler, nil)
	must(t, err)
	must(t, other.start("client", nativeImage, "sleep", "3600"))
	code, out, err := other.exec("client", "wget", "-q", "-O", "-", "http://"+sandbox.Status.Network.Ip+":8080/")
	if must(t, err); code != 0 {
		t.Errorf("from another pod: %d, %s", code, out)
	}
	must(t, other.remove())

	criExec(p)
	if seesCgroups(t) {
		criStats(p)
	}
	criLogs(p)
	criUpdate(p)

	must(t, p.stop("app"))
	if s := p.status("app"); s.State != cri.ContainerState_CONTAINER_EXITED || s.ExitCode != 143 {
		t.Errorf("the stopped app: %v", s)
	}
	must(t, p.remove())
	nothingLeft(t)
}

// A native program in the sidecar, the same and another module in the app, and what a
// FROM scratch image cannot do.
func criExec(p *pod) {
	t := p.k.t
	t.Helper()
	for _, row := range []struct {
		name string
		argv []string
		code int32
		says string
	}{
		{"sidecar", []string{"sh", "-c", "hostname; exit 3"}, 3, "mixed"},
		{"app", []string{"/hello.wasm", "hello"}, 0, "hello from C"},
		{"app", []string{"/hello.wasm", "exit", "9"}, 9, ""},
		{"app", []string{"/http.wasm"}, 2, "usage"},
	} {
		code, out, err := p.exec(row.name, row.argv...)
		if err != nil || code != row.code || !strings.Contains(out, row.says) {
			t.Errorf("%s: %v: status %d, %q, %v", row.name, row.argv, code, out, err)
		}
	}
	if code, out, err := p.exec("app", "/bin/sh", "-c", "true"); err == nil && code == 0 || !strings.Contains(fmt.Sprint(out, err), "/bin/sh") {
		t.Errorf("a shell in a FROM scratch image: status %d, %q, %v", code, out, err)
	}
}

// criStats reads what `kubectl top` and the eviction of a kubelet are made of.
func criStats(p *pod) {
	t := p.k.t
	t.Helper()
	for _, name := range []string{"app", "sidecar"} {
		answer, err := p.k.runtime.ContainerStats(p.k.ctx, &cri.ContainerStatsRequest{ContainerId: p.containers[name]})
		must(t, err)
		s := answer.Stats
		if s.GetMemory().GetWorkingSetBytes().GetValue() == 0 || s.GetCpu().GetUsageCoreNanoSeconds().GetValue() == 0 {
			t.Errorf("stats of %s: %v", name, s)
		}
	}
	answer, err := p.k.runtime.PodSandboxStats(p.k.ctx, &cri.PodSandboxStatsRequest{PodSandboxId: p.id})
	must(t, err)
	if l := answer.Stats.GetLinux(); len(l.GetContainers()) != 2 || l.GetMemory().GetUsageBytes().GetValue() == 0 {
		t.Errorf("stats of the pod: %v", answer.Stats)
	}
}

func criLogs(p *pod) {
	t := p.k.t
	t.Helper()
	for name, want := range map[string]string{"app": "stdout F listening", "sidecar": "stdout F asleep"} {
		content, err := os.ReadFile(filepath.Join(p.config.LogDirectory, name+".log"))
		if err != nil || !strings.Contains(string(content), want) {
			t.Errorf("log of %s: %q, %v", name, content, err)
		}
	}
}

// criUpdate changes limits as a vertical autoscaler has them changed.
func criUpdate(p *pod) {
	t := p.k.t
	t.Helper()
	for _, name := range []string{"app", "sidecar"} {
		_, err := p.k.runtime.UpdateContainerResources(p.k.ctx, &cri.UpdateContainerResourcesRequest{
			ContainerId: p.containers[name], Linux: &cri.LinuxContainerResources{MemoryLimitInBytes: 160 << 20, CpuShares: 256},
		})
		must(t, err)
		limits, err := filepath.Glob("/sys/fs/cgroup/memory/" + cgroupPrefix + "/mixed/*" + p.containers[name] + "/memory.limit_in_bytes")
		must(t, err)
		if len(limits) == 0 {
			continue // cgroup v2
		}
		if content, err := os.ReadFile(limits[0]); strings.TrimSpace(string(content)) != fmt.Sprint(160<<20) {
			t.Errorf("limit of %s: %s, %v", name, content, err)
		}
	}
}

// What an annotation of the pod says, holds for its containers, and not for its pause.
func TestCRIAnnotations(t *testing.T) {
	k := newKubelet(t)
	p, err := k.sandbox("annotated", handler, map[string]string{"module.wasm.image/variant": "compat", "run.runw.engine": "wazero"})
	must(t, err)
	defer func() { must(t, p.remove()) }()
	must(t, p.start("module", wasmImage, "hello"))
	await(t, "the module's end", func() bool { return p.status("module").State == cri.ContainerState_CONTAINER_EXITED })
	if s := p.status("module"); s.ExitCode != 0 {
		t.Errorf("the module: %v", s)
	}
	if err := p.start("program", nativeImage, "hello"); err == nil || !strings.Contains(err.Error(), "/probe") {
		t.Errorf("a program where a module is demanded: %v", err)
	}
}

// The other runtimes of the node are as they were.
func TestCRIHandlers(t *testing.T) {
	k := newKubelet(t)
	if p, err := k.sandbox("unknown", "no-such-handler", nil); err == nil {
		t.Errorf("a handler that nobody configured: %v", p.remove())
	}
	p, err := k.sandbox("default", "", nil)
	must(t, err)
	defer func() { must(t, p.remove()) }()
	must(t, p.start("program", nativeImage, "sleep", "3600"))
	if err := p.start("module", wasmImage); err == nil {
		t.Error("a module runs below runc")
	}
}

// A module that waits for connections ends at the kubelet's SIGTERM, long before the grace
// period. The fastest of three tells, for the machine is shared.
func TestCRIStopTime(t *testing.T) {
	k := newKubelet(t)
	fastest := time.Hour
	for i := range 3 {
		p, err := k.mixed(fmt.Sprintf("stop%d", i))
		must(t, err)
		begin := time.Now()
		var group sync.WaitGroup
		for name := range p.containers {
			group.Go(func() { _ = p.stop(name) })
		}
		group.Wait()
		_, err = k.runtime.StopPodSandbox(k.ctx, &cri.StopPodSandboxRequest{PodSandboxId: p.id})
		must(t, err)
		fastest = min(fastest, time.Since(begin))
		must(t, p.remove())
	}
	t.Logf("a pod of two containers stopped after %v", fastest)
	if fastest > time.Second {
		t.Errorf("stopped after %v", fastest)
	}
}

// Fifty pods, each with pause, module and sidecar, started by as many callers at once.
func TestCRIFiftyPods(t *testing.T) {
	k := newKubelet(t)
	const count = 50
	begin := time.Now()
	pods, failed := [count]*pod{}, [count]error{}
	var group sync.WaitGroup
	for i := range count {
		group.Go(func() { pods[i], failed[i] = k.mixed(fmt.Sprintf("many%d", i)) })
	}
	group.Wait()
	t.Logf("%d pods started after %v", count, time.Since(begin))
	for i, p := range pods {
		if failed[i] != nil {
			t.Error(failed[i])
			continue
		}
		await(t, "the answer of "+p.config.Hostname, func() bool {
			code, _, err := p.exec("sidecar", "wget", "-q", "-O", "-", "http://127.0.0.1:8080/")
			return code == 0 && err == nil
		})
	}
	begin = time.Now()
	for i, p := range pods {
		if p != nil {
			group.Go(func() { failed[i] = errors.Join(failed[i], p.remove()) })
		}
	}
	group.Wait()
	t.Logf("and removed after %v", time.Since(begin))
	must(t, errors.Join(failed[:]...))
	nothingLeft(t)
}
