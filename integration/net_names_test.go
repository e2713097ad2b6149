package integration

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/net/dns/dnsmessage"
)

// A root filesystem that holds the module alone is enough for literals, service names and
// this machine.
func TestNetNamesWithoutFiles(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		code int
		want []string
	}{
		{"v4", []string{"192.0.2.7", "http"}, 0, []string{"family 1 type 2 protocol 1 port 80 length 16 address 192.0.2.7\n"}},
		{"v6", []string{"2001:db8::7", "https"}, 0, []string{"family 2 type 2 protocol 1 port 443 length 28 address 2001:0db8:0000:0000:0000:0000:0000:0007\n"}},
		{"nobody", []string{"", "8080"}, 0, []string{"port 8080 length 16 address 127.0.0.1\n", "family 2"}},
		{"passive", []string{"", "8080", "1", "1"}, 0, []string{"address 0.0.0.0\n", "!family 2"}},
		{"canonical", []string{"192.0.2.7", "1", "0", "2"}, 0, []string{"address 192.0.2.7 name 192.0.2.7\n"}},
		{"mapped", []string{"192.0.2.7", "1", "2", "16"}, 0, []string{"0000:0000:0000:0000:0000:ffff:c000:0207\n"}},
		{"wrong family", []string{"192.0.2.7", "1", "2"}, 1, []string{"error 77\n"}},
		{"no such service", []string{"192.0.2.7", "nothing-like-it"}, 1, []string{"error 85\n"}},
		{"service of 70000", []string{"192.0.2.7", "70000"}, 1, []string{"error 85\n"}},
		{"nothing", []string{"", ""}, 1, []string{"error 84\n"}},
		{"numeric only", []string{"localhost", "1", "0", "4"}, 1, []string{"error 84\n"}},
		{"bad family", []string{"192.0.2.7", "1", "3"}, 1, []string{"error 81\n"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := prepare(t, "c/resolve", c.args...)
			s.run().exits(c.code).says(c.want...)
		})
	}
}

func (b *box) etc(name, content string) {
	b.t.Helper()
	mkdir(b.t, b.Path("etc"))
	must(b.t, os.WriteFile(b.Path("etc", name), []byte(content), 0o644))
}

func TestNetNamesHosts(t *testing.T) {
	s := prepare(t, "c/resolve", "db.example", "5432")
	s.etc("hosts", "127.0.0.1 localhost\n192.0.2.1 db.example alias # comment\n2001:db8::1\tdb.example\n")
	s.run().ok().says("port 5432 length 16 address 192.0.2.1\n", "address 2001:0db8:0000:0000:0000:0000:0000:0001\n")
	goGuest := prepare(t, "go/net", "lookup", "db.example", "http")
	goGuest.etc("hosts", "192.0.2.1 db.example\n2001:db8::1 db.example\n")
	goGuest.run().ok().says("192.0.2.1:80\n[2001:db8::1]:80\n")
}

// nameServer answers on port 53 of a namespace for the names it has. Of a name that begins
// with "big" it tells everything only by TCP.
type nameServer struct {
	t     *testing.T
	zone  map[string][]netip.Addr
	mu    sync.Mutex
	asked []string // "udp name", "tcp name"
}

// newNameServer begins to answer on the addresses in the namespace of s.
func newNameServer(s *server, zone map[string][]netip.Addr, addresses ...string) *nameServer {
	s.t.Helper()
	n := &nameServer{t: s.t, zone: zone}
	for _, address := range addresses {
		var packets net.PacketConn
		var listener net.Listener
		var err error
		s.inside(func() {
			if packets, err = net.ListenPacket("udp", address); err == nil {
				listener, err = net.Listen("tcp", address)
			}
		})
		must(s.t, err)
		s.t.Cleanup(func() {
			packets.Close()
			listener.Close()
		})
		go n.udp(packets)
		go n.tcp(listener)
	}
	return n
}

func (n *nameServer) udp(packets net.PacketConn) {
	buf := make([]byte, 4096)
	for {
		size, from, err := packets.ReadFrom(buf)
		if err != nil {
			return
		}
		if reply := n.reply("udp", buf[:size]); reply != nil {
			_, _ = packets.WriteTo(reply, from)
		}
	}
}

func (n *nameServer) tcp(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
		var size [2]byte
		for {
			if _, err := io.ReadFull(conn, size[:]); err != nil {
				break
			}
			query := make([]byte, binary.BigEndian.Uint16(size[:]))
			if _, err := io.ReadFull(conn, query); err != nil {
				break
			}
			reply := n.reply("tcp", query)
			_, _ = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...))
		}
		conn.Close()
	}
}

func (n *nameServer) reply(network string, query []byte) []byte {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	name := q.Name.String()
	n.mu.Lock()
	n.asked = append(n.asked, network+" "+name)
	n.mu.Unlock()
	addrs, known := n.zone[name]
	r := dnsmessage.Message{Header: dnsmessage.Header{ID: m.ID, Response: true, RecursionAvailable: true}, Questions: m.Questions}
	switch {
	case !known:
		r.RCode = dnsmessage.RCodeNameError
	case strings.HasPrefix(name, "big") && network == "udp":
		r.Truncated = true
	default:
		for _, addr := range addrs {
			h := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 60}
			if addr.Is4() && q.Type == dnsmessage.TypeA {
				r.Answers = append(r.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: addr.As4()}})
			}
			if addr.Is6() && q.Type == dnsmessage.TypeAAAA {
				r.Answers = append(r.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AAAAResource{AAAA: addr.As16()}})
			}
		}
	}
	out, err := r.Pack()
	if err != nil {
		n.t.Error(err)
	}
	return out
}

func (n *nameServer) was(asked string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, a := range n.asked {
		if a == asked {
			return true
		}
	}
	return false
}

func TestNetNamesDNS(t *testing.T) {
	// The container that holds the namespace.
	holder := serve(t, "c/udp", "127.0.0.1:1")
	addr := netip.MustParseAddr
	dns := newNameServer(holder, map[string][]netip.Addr{
		"www.example.":         {addr("192.0.2.80"), addr("2001:db8::80")},
		"big.example.":         {addr("192.0.2.81")},
		"db.svc.cluster.test.": {addr("192.0.2.82")},
		"a.b.cluster.test.":    {addr("192.0.2.83")},
	}, "127.0.0.53:53")
	for _, c := range []struct {
		name, conf string
		args       []string
		code       int
		want       []string
		asked      string
		policy     string
	}{
		{"both families", "nameserver 127.0.0.53\n", []string{"www.example", "http"}, 0,
			[]string{"port 80 length 16 address 192.0.2.80\n", "0db8:0000:0000:0000:0000:0000:0080\n"}, "udp www.example.", ""},
		{"v6 only", "nameserver 127.0.0.53\n", []string{"www.example", "1", "2"}, 0,
			[]string{"family 2", "!family 1"}, "udp www.example.", ""},
		{"truncated", "nameserver 127.0.0.53\n", []string{"big.example", "1"}, 0,
			[]string{"address 192.0.2.81\n"}, "tcp big.example.", ""},
		{"search", "search svc.cluster.test cluster.test\nnameserver 127.0.0.53\n", []string{"db", "1"}, 0,
			[]string{"address 192.0.2.82\n"}, "udp db.svc.cluster.test.", ""},
		{"ndots", "search svc.cluster.test cluster.test\noptions ndots:5\nnameserver 127.0.0.53\n", []string{"a.b", "1"}, 0,
			[]string{"address 192.0.2.83\n"}, "udp a.b.svc.cluster.test.", ""},
		{"second server", "nameserver 127.0.0.54\nnameserver 127.0.0.53\noptions timeout:1 attempts:1\n", []string{"www.example", "1", "1"}, 0,
			[]string{"address 192.0.2.80\n"}, "udp www.example.", ""},
		{"canonical", "nameserver 127.0.0.53\n", []string{"www.example", "1", "1", "2"}, 0,
			[]string{"address 192.0.2.80 name www.example\n"}, "udp www.example.", ""},
		{"unknown", "nameserver 127.0.0.53\n", []string{"none.example", "1"}, 1, []string{"error 84\n"}, "udp none.example.", ""},
		{"no server", "nameserver 127.0.0.54\noptions timeout:1 attempts:1\n", []string{"silent.example", "1"}, 1, []string{"error 78\n"}, "", ""},
		{"policy allows", "nameserver 127.0.0.53\n", []string{"www.example", "1", "1"}, 0,
			[]string{"address 192.0.2.80\n"}, "udp www.example.", "127.0.0.53:53"},
		{"policy forbids", "nameserver 127.0.0.53\noptions timeout:1 attempts:1\n", []string{"forbidden.example", "1", "1"}, 1,
			[]string{"error "}, "", "192.0.2.0/24:*"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := prepare(t, "c/resolve", c.args...)
			s.join(specs.NetworkNamespace, holder.ns)
			s.etc("resolv.conf", c.conf)
			if c.policy != "" {
				s.annotate(netAnnotation, c.policy)
			}
			s.run().exits(c.code).says(c.want...)
			if c.asked != "" && !dns.was(c.asked) {
				t.Errorf("the server was asked %q, not %q", dns.asked, c.asked)
			}
		})
	}
	if dns.was("udp forbidden.example.") || dns.was("tcp forbidden.example.") {
		t.Error("a policy without the name server has asked it")
	}
	holder.end()
}
