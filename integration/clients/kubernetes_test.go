package clients

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// The installer's init container, as the manifest has it, installs what is in its image,
// and a second time nothing.
func TestInstallerRuns(t *testing.T) {
	c := podman(t)
	context := shared(t)
	must(t, os.CopyFS(filepath.Join(context, "dropin"), os.DirFS(filepath.Join(rootdir, "integration/clients/dropin"))))
	must(t, install(runw, filepath.Join(context, "runw"), 0o755))
	c.run("build", "--build-arg", "BASE="+nativeImage, "--file", context+"/dropin/kubernetes/Containerfile", "--tag", "localhost/runw-installer", context).ok()
	defer func() { c.run("rmi", "localhost/runw-installer").ok() }()

	script, set := installer(t)
	container := set.Spec.Template.Spec.InitContainers[0]
	node := shared(t) // stands for the node's root
	host := map[string]string{"script": filepath.Join(node, "script")}
	must(t, os.Mkdir(host["script"], 0o755))
	for name, text := range script.Data {
		write(t, filepath.Join(host["script"], name), text, 0o644)
	}
	for _, volume := range set.Spec.Template.Spec.Volumes {
		if volume.HostPath != nil {
			host[volume.Name] = filepath.Join(node, volume.HostPath.Path)
			must(t, os.MkdirAll(host[volume.Name], 0o755))
		}
	}
	args := []string{"run", "--rm", "--read-only", "--cap-drop", "all", "--security-opt", "no-new-privileges", "--user", "0",
		"--env", "FILE=crio/10-runw.conf", "--env", "PLACE=crio/crio.conf.d/10-runw.conf"}
	for _, mount := range container.VolumeMounts {
		args = append(args, "--volume", host[mount.Name]+":"+mount.MountPath)
	}
	args = append(append(args, "--entrypoint", container.Command[0], container.Image), container.Command[1:]...)
	c.run(args...).ok().says("installed /sbin/runw", "installed /etc/crio/crio.conf.d/10-runw.conf")
	if out := c.run(args...).ok().text(); out != "" {
		t.Errorf("installed again: %s", out)
	}
	if config, err := os.ReadFile(filepath.Join(node, "etc/crio/crio.conf.d/10-runw.conf")); string(config) != string(dropin(t, "crio/10-runw.conf")) {
		t.Errorf("%q, %v", config, err)
	}
	client{t: t, argv: []string{filepath.Join(node, binary)}}.run("--version").ok().says("runw version")
}

// The example pod of the drop-ins, as `podman kube play` runs it.
func TestPodmanKubePlay(t *testing.T) {
	c := podman(t)
	need(t, "catatonit")
	pod := decode[core.Pod](t, dropin(t, "kubernetes/pod.yaml"))
	for i := range pod.Spec.Containers {
		// podman 4.3 makes a shell command of each probe and wants systemd to run it.
		pod.Spec.Containers[i].LivenessProbe, pod.Spec.Containers[i].ReadinessProbe = nil, nil
		pod.Spec.Containers[i].ImagePullPolicy = core.PullNever
		pod.Spec.Containers[i].Ports = nil // there is no network to publish them on
	}
	content, err := yaml.Marshal(pod)
	must(t, err)
	file := write(t, filepath.Join(t.TempDir(), "pod.yaml"), string(content), 0o644)
	c.run("kube", "play", "--network", "none", file).ok()
	defer c.run("kube", "down", file)
	await(t, "the Wasm server's answer", func() bool {
		return c.run("exec", "mixed-sidecar", "wget", "-q", "-O", "-", "http://127.0.0.1:8080/").code == 0
	})
	if out := c.run("pod", "ps", "--format", "{{.Name}} {{.Status}}").ok().text(); !strings.Contains(out, "mixed Running") {
		t.Error(out)
	}
	together(c, "mixed-app", "mixed-sidecar")
}
