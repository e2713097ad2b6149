package hostfuncs

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// NetPolicy is what a guest may do on the network beyond what its network
// namespace and capabilities allow anyway. The zero value forbids nothing.
// What the guest was started with (inherited sockets) stays usable; only where
// it may connect and send to is checked there, too.
type NetPolicy struct {
	// Restricted forbids everything that the other fields do not allow.
	Restricted bool
	// Listen allows binding to a port, listening, and answering whoever has
	// sent a datagram.
	Listen bool
	// Unix allows AF_UNIX sockets.
	Unix bool
	// Reach is where the guest may connect and send to.
	Reach []NetRule
}

// NetRule is a network and a range of ports.
type NetRule struct {
	Prefix      netip.Prefix
	First, Last uint16
}

// ErrNetPolicy is wrapped by the errors of ParseNetPolicy.
var ErrNetPolicy = errors.New("bad network policy")

// ParseNetPolicy reads "" (everything), "none", or a comma separated list of
// "listen", "unix" and CIDR:PORT. A CIDR of IPv6 stands in brackets, one
// without a mask is a single address; PORT is a number, a range FIRST-LAST, or
// "*".
func ParseNetPolicy(s string) (NetPolicy, error) {
	p := NetPolicy{Restricted: s != ""}
	if s == "" || s == "none" {
		return p, nil
	}
	for item := range strings.SplitSeq(s, ",") {
		switch item {
		case "listen":
			p.Listen = true
		case "unix":
			p.Unix = true
		default:
			r, err := parseNetRule(item)
			if err != nil {
				return NetPolicy{}, fmt.Errorf("%w: %q: %w", ErrNetPolicy, item, err)
			}
			p.Reach = append(p.Reach, r)
		}
	}
	return p, nil
}

func parseNetRule(s string) (NetRule, error) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return NetRule{}, errors.New(`want "none", "listen", "unix" or CIDR:PORT`)
	}
	network, ports := s[:i], s[i+1:]
	bare, six := strings.CutPrefix(network, "[")
	if six {
		var closed bool
		if bare, closed = strings.CutSuffix(bare, "]"); !closed {
			return NetRule{}, errors.New("no closing bracket")
		}
	}
	prefix, err := parsePrefix(bare)
	switch {
	case err != nil:
		return NetRule{}, err
	case prefix.Addr().Is4() == six:
		return NetRule{}, errors.New("IPv6, and only IPv6, stands in brackets")
	}
	first, last, err := parsePorts(ports)
	return NetRule{Prefix: prefix, First: first, Last: last}, err
}

func parsePrefix(s string) (netip.Prefix, error) {
	if !strings.Contains(s, "/") {
		addr, err := netip.ParseAddr(s)
		if err != nil {
			return netip.Prefix{}, err
		}
		if addr.Zone() != "" || addr.Is4In6() {
			return netip.Prefix{}, errors.New("zones and mapped addresses are not compared")
		}
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return netip.Prefix{}, err
	case prefix.Addr().Is4In6():
		return netip.Prefix{}, errors.New("zones and mapped addresses are not compared")
	case prefix != prefix.Masked():
		return netip.Prefix{}, fmt.Errorf("has bits behind its mask; the network is %s", prefix.Masked())
	}
	return prefix, nil
}

func parsePorts(s string) (first, last uint16, err error) {
	if s == "*" {
		return 0, 0xffff, nil
	}
	a, b, isRange := strings.Cut(s, "-")
	if !isRange {
		b = a
	}
	low, err := strconv.ParseUint(a, 10, 16)
	if err != nil {
		return 0, 0, fmt.Errorf("port: %w", err)
	}
	high, err := strconv.ParseUint(b, 10, 16)
	if err != nil {
		return 0, 0, fmt.Errorf("port: %w", err)
	}
	if low > high {
		return 0, 0, errors.New("port: the range ends before it begins")
	}
	return uint16(low), uint16(high), nil
}

// mayOpen says whether a socket of the kernel's family would be of any use.
func (p *NetPolicy) mayOpen(domain int) bool {
	if domain == unix.AF_UNIX {
		return !p.Restricted || p.Unix
	}
	return !p.Restricted || p.Listen || len(p.Reach) > 0
}

// mayBind lets everybody choose an address to send from.
func (p *NetPolicy) mayBind(a *sockaddr) bool {
	switch {
	case !p.Restricted:
		return true
	case a.family() == unix.AF_UNIX:
		return p.Unix
	}
	return p.Listen || a.port() == 0
}

func (p *NetPolicy) mayListen(fd int) bool {
	if !p.Restricted || p.Listen {
		return true
	}
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	return err == nil && domain == unix.AF_UNIX && p.Unix
}

// mayReach compares what the kernel will make of the address: it takes the
// unspecified one for this machine.
func (p *NetPolicy) mayReach(a *sockaddr) bool {
	switch {
	case !p.Restricted:
		return true
	case a.family() == unix.AF_UNIX:
		return p.Unix
	}
	to := a.addrPort()
	if !to.Addr().IsUnspecified() {
		return p.allows(to)
	}
	// For :: the kernel chooses the family by what the socket is bound to.
	v4 := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), to.Port())
	v6 := netip.AddrPortFrom(netip.IPv6Loopback(), to.Port())
	return p.allows(v4) && (to.Addr().Is4() || p.allows(v6))
}

func (p *NetPolicy) allows(to netip.AddrPort) bool {
	if !p.Restricted {
		return true
	}
	return slices.ContainsFunc(p.Reach, func(r NetRule) bool {
		return r.Prefix.Contains(to.Addr()) && to.Port() >= r.First && to.Port() <= r.Last
	})
}

// rememberedPeers is how many senders a datagram socket may answer at a time.
const rememberedPeers = 64

// heard remembers who has sent a datagram, if the guest may answer only those.
func (p *NetPolicy) heard(e *entry, a *sockaddr) {
	if !p.Restricted || !p.Listen || e.kind != filetypeSocketDgram || a.family() == unix.AF_UNIX {
		return
	}
	from := a.addrPort()
	if slices.Contains(e.peers, from) {
		return
	}
	if len(e.peers) < rememberedPeers {
		e.peers = append(e.peers, from)
		return
	}
	e.peers[e.nextPeer%rememberedPeers] = from
	e.nextPeer++
}

// mayAnswer says whether a datagram's sender is being sent to.
func (p *NetPolicy) mayAnswer(e *entry, a *sockaddr) bool {
	return p.Listen && e.kind == filetypeSocketDgram && a.family() != unix.AF_UNIX && slices.Contains(e.peers, a.addrPort())
}
