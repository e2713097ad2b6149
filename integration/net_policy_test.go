package integration

import (
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func (b *box) annotate(key, value string) {
	if b.Spec.Annotations == nil {
		b.Spec.Annotations = map[string]string{}
	}
	b.Spec.Annotations[key] = value
}

const netAnnotation = "run.runw.net"

func TestNetPolicyRefused(t *testing.T) {
	for _, c := range []struct{ value, why string }{
		{"", "is empty"},
		{"all", "want"},
		{"none,listen", "want"},
		{"10.0.0.1/8:80", "10.0.0.0/8"},
		{"10.0.0.0/8:80-70", "ends before it begins"},
		{"10.0.0.0/8:65536", "out of range"},
		{"::1:80", "brackets"},
		{"[10.0.0.1]:80", "brackets"},
		{"[fe80::1%1]:80", "zone"},
		{"listen,", "want"},
	} {
		t.Run(c.value, func(t *testing.T) {
			b := newBox(t, "c/udp", "1")
			b.annotate(netAnnotation, c.value)
			res := b.create()
			res.exits(1).warns(netAnnotation, c.why)
		})
	}
}

// What the guest says when it is refused is its errno: 2 is ACCES.
func TestNetPolicyServers(t *testing.T) {
	for _, c := range []struct {
		value string
		ok    bool
	}{
		{"none", false}, {"listen", true}, {"127.0.0.1:80", false}, {"listen,127.0.0.1:80", true}, {"unix", false},
	} {
		t.Run(c.value, func(t *testing.T) {
			s := prepare(t, "c/http", serverAddress)
			s.annotate(netAnnotation, c.value)
			if !c.ok {
				s.run().exits(1).warns("port 8080: errno 2")
				return
			}
			s.start()
			if out := s.tool("", "curl", "-sS", "http://"+serverAddress+"/open"); out != "1\n" {
				t.Errorf("curl prints %q", out)
			}
			s.end()
		})
	}
}

// A datagram server may answer, whoever it was that asked.
func TestNetPolicyAnswer(t *testing.T) {
	s := prepare(t, "c/udp", "127.0.0.1:5353")
	s.annotate(netAnnotation, "listen")
	s.start()
	if out := s.tool("there and back", "nc", "-u", "-w", "1", "127.0.0.1", "5353"); out != "there and back" {
		t.Errorf("nc prints %q", out)
	}
	s.end()
}

func TestNetPolicyReach(t *testing.T) {
	backend := serve(t, "c/http", serverAddress)
	for _, c := range []struct {
		value string
		ok    bool
	}{
		{"127.0.0.0/8:8080", true}, {"127.0.0.1:*", true}, {"10.0.0.0/8:*,127.0.0.1:8000-8100", true},
		{"127.0.0.0/8:80", false}, {"10.0.0.0/8:*", false}, {"[::/0]:*", false}, {"listen", false}, {"none", false},
	} {
		t.Run(strings.ReplaceAll(c.value, "/", "|"), func(t *testing.T) {
			client := prepare(t, "go/net", "get", "8080", "/")
			client.join(specs.NetworkNamespace, backend.ns)
			client.annotate(netAnnotation, c.value)
			if c.ok {
				client.run().ok().says("200 OK")
			} else {
				client.run().exits(1).warns("ermission denied")
			}
		})
	}
	backend.end()
}

// The kernel's own rules hold: a port below ip_unprivileged_port_start wants
// CAP_NET_BIND_SERVICE.
func TestNetPrivilegedPort(t *testing.T) {
	for _, c := range []struct {
		name, start string
		capability  bool
		ok          bool
	}{
		{"without the capability", "1024", false, false},
		{"with the capability", "1024", true, true},
		{"with the sysctl", "80", false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := prepare(t, "c/http", "127.0.0.1:80")
			s.as(1000, 1000)
			s.Spec.Linux.Sysctl = map[string]string{"net.ipv4.ip_unprivileged_port_start": c.start}
			caps := &specs.LinuxCapabilities{}
			if c.capability {
				list := []string{"CAP_NET_BIND_SERVICE"}
				caps.Bounding, caps.Effective, caps.Permitted = list, list, list
				caps.Inheritable, caps.Ambient = list, list
			}
			s.Spec.Process.Capabilities = caps
			if !c.ok {
				s.run().exits(1).warns("port 80: errno 2")
				return
			}
			s.start()
			s.end()
		})
	}
}
