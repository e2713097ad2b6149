package clients

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	node "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"
)

// binary is where every drop-in expects runw.
const binary = "/usr/local/sbin/runw"

func dropin(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(rootdir, "integration/clients/dropin", name))
	must(t, err)
	return content
}

// criRuntime is one entry of the table of runtimes of containerd's CRI plugin.
type criRuntime struct {
	Type                 string   `toml:"runtime_type"`
	PodAnnotations       []string `toml:"pod_annotations"`
	ContainerAnnotations []string `toml:"container_annotations"`
	Options              struct {
		BinaryName    string
		SystemdCgroup bool
	} `toml:"options"`
}

func criRuntimes(t *testing.T, file, plugin string, version int) map[string]criRuntime {
	t.Helper()
	var config struct {
		Version int `toml:"version"`
		Plugins map[string]struct {
			Containerd struct {
				Runtimes map[string]criRuntime `toml:"runtimes"`
			} `toml:"containerd"`
		} `toml:"plugins"`
	}
	must(t, toml.NewDecoder(strings.NewReader(string(dropin(t, file)))).DisallowUnknownFields().Decode(&config))
	runtimes := config.Plugins[plugin].Containerd.Runtimes
	if config.Version != version || len(config.Plugins) != 1 || len(runtimes) != 2 || runtimes["runc"].Type == "" {
		t.Errorf("%s: %+v", file, config)
	}
	return runtimes
}

// Every client finds the same binary under the same name; the versions of containerd's
// configuration say the same.
func TestDropIns(t *testing.T) {
	v2 := criRuntimes(t, "containerd/config-v2.toml", "io.containerd.grpc.v1.cri", 2)
	v3 := criRuntimes(t, "containerd/config-v3.toml", "io.containerd.cri.v1.runtime", 3)
	if !reflect.DeepEqual(v2, v3) || v2[handler].Options.BinaryName != binary || v2[handler].Type != "io.containerd.runc.v2" {
		t.Errorf("containerd: %+v, %+v", v2, v3)
	}

	var docker struct {
		Runtimes map[string]struct{ Path string }
	}
	must(t, json.Unmarshal(dropin(t, "docker/daemon.json"), &docker))
	if docker.Runtimes[handler].Path != binary {
		t.Errorf("docker: %+v", docker)
	}

	var podman struct {
		Engine struct {
			Runtime  string              `toml:"runtime"`
			Runtimes map[string][]string `toml:"runtimes"`
			Platform map[string]string   `toml:"platform_to_oci_runtime"`
		} `toml:"engine"`
	}
	must(t, toml.NewDecoder(strings.NewReader(string(dropin(t, "podman/containers.conf")))).DisallowUnknownFields().Decode(&podman))
	if e := podman.Engine; e.Runtime != handler || e.Runtimes[handler][0] != binary || e.Platform["wasi/wasm"] != handler {
		t.Errorf("podman: %+v", podman)
	}

	var crio struct {
		Crio struct {
			Runtime struct {
				Runtimes map[string]struct {
					Path        string   `toml:"runtime_path"`
					Type        string   `toml:"runtime_type"`
					Root        string   `toml:"runtime_root"`
					Annotations []string `toml:"allowed_annotations"`
				} `toml:"runtimes"`
			} `toml:"runtime"`
		} `toml:"crio"`
	}
	must(t, toml.NewDecoder(strings.NewReader(string(dropin(t, "crio/10-runw.conf")))).DisallowUnknownFields().Decode(&crio))
	if r := crio.Crio.Runtime.Runtimes[handler]; r.Path != binary || r.Type != "oci" || r.Root == "" || len(r.Annotations) == 0 {
		t.Errorf("CRI-O: %+v", crio)
	}
}

// decode reads a Kubernetes object as an API server does: a field that the type does not
// have is an error.
func decode[T any](t *testing.T, document []byte) *T {
	t.Helper()
	object := new(T)
	must(t, yaml.UnmarshalStrict(document, object))
	return object
}

func TestKubernetesRuntimeClass(t *testing.T) {
	class := decode[node.RuntimeClass](t, dropin(t, "kubernetes/runtimeclass.yaml"))
	if class.APIVersion != "node.k8s.io/v1" || class.Kind != "RuntimeClass" || class.Handler != handler {
		t.Errorf("%+v", class)
	}
	if problems := append(validation.IsDNS1123Subdomain(class.Name), validation.IsDNS1123Label(class.Handler)...); len(problems) > 0 {
		t.Error(problems)
	}
	if fixed := class.Overhead.PodFixed; fixed.Cpu().IsZero() || fixed.Memory().IsZero() {
		t.Errorf("overhead: %v", fixed)
	}
	pod := decode[core.Pod](t, dropin(t, "kubernetes/pod.yaml"))
	if pod.APIVersion != "v1" || pod.Kind != "Pod" || *pod.Spec.RuntimeClassName != class.Name || len(pod.Spec.Containers) != 2 {
		t.Errorf("%+v", pod)
	}
}

// installer returns the two objects of the installer's manifest.
func installer(t *testing.T) (*core.ConfigMap, *apps.DaemonSet) {
	t.Helper()
	documents := strings.Split(string(dropin(t, "kubernetes/installer.yaml")), "\n---\n")
	if len(documents) != 2 {
		t.Fatalf("%d documents", len(documents))
	}
	return decode[core.ConfigMap](t, []byte(documents[0])), decode[apps.DaemonSet](t, []byte(documents[1]))
}

func TestKubernetesInstaller(t *testing.T) {
	script, set := installer(t)
	class := decode[node.RuntimeClass](t, dropin(t, "kubernetes/runtimeclass.yaml"))
	if script.Kind != "ConfigMap" || script.APIVersion != "v1" || set.Kind != "DaemonSet" || set.APIVersion != "apps/v1" || script.Namespace != set.Namespace {
		t.Errorf("%s %s, %s %s", script.APIVersion, script.Kind, set.APIVersion, set.Kind)
	}
	template := set.Spec.Template
	if !reflect.DeepEqual(set.Spec.Selector.MatchLabels, template.Labels) {
		t.Errorf("%v does not select %v", set.Spec.Selector.MatchLabels, template.Labels)
	}
	for label, value := range class.Scheduling.NodeSelector {
		if problems := validation.IsQualifiedName(label); len(problems) > 0 || template.Spec.NodeSelector[label] != value {
			t.Errorf("pods go to nodes with %s=%s, the installer to those with %v; %v", label, value, template.Spec.NodeSelector, problems)
		}
	}
	volumes := map[string]core.Volume{}
	for _, volume := range template.Spec.Volumes {
		volumes[volume.Name] = volume
	}
	if volumes["script"].ConfigMap.Name != script.Name || volumes["sbin"].HostPath.Path != filepath.Dir(binary) || volumes["etc"].HostPath.Path != "/etc" {
		t.Errorf("%v", volumes)
	}
	for _, container := range append(template.Spec.InitContainers, template.Spec.Containers...) {
		for _, mount := range container.VolumeMounts {
			if _, ok := volumes[mount.Name]; !ok {
				t.Errorf("%s mounts %s, which is no volume", container.Name, mount.Name)
			}
		}
		if s := container.SecurityContext; s == nil || s.Privileged != nil || *s.AllowPrivilegeEscalation || len(s.Capabilities.Add) > 0 {
			t.Errorf("%s may do more than it needs: %+v", container.Name, s)
		}
	}
}
