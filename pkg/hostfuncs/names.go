package hostfuncs

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// answers are the addresses that a name has, IPv4 first: guests that do not
// know IPv6 look at the first few only.
type answers struct {
	hints hints
	addrs []netip.Addr
	// ports has one for each of hints.transports.
	ports     []uint16
	canonical string
}

// resolver asks as Linux programs do, by the container's /etc/hosts and
// /etc/resolv.conf; Go's net package reads both at the first question. Name
// servers are subject to the policy.
func (h *Host) resolver() *net.Resolver {
	var dialer net.Dialer
	return &net.Resolver{
		PreferGo: true,
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			server, err := netip.ParseAddrPort(address)
			if err != nil {
				return nil, err
			}
			if !h.sock.policy.allows(netip.AddrPortFrom(server.Addr().Unmap(), server.Port())) {
				return nil, errNameServer
			}
			return dialer.DialContext(ctx, network, address)
		},
	}
}

var errNameServer = errors.New("name server is out of the guest's reach")

// resolve answers sock_getaddrinfo.
func (h *Host) resolve(node, service string, want hints) (*answers, Errno) {
	a := &answers{hints: want}
	r := h.resolver()
	var errno Errno
	if a.ports, errno = servicePorts(r, service, want); errno != errnoSuccess {
		return nil, errno
	}
	if a.addrs, errno = addresses(r, node, want); errno != errnoSuccess {
		return nil, errno
	}
	a.addrs = a.addrs[:min(len(a.addrs), maxAddresses)]
	if want.flags&aiCanonname != 0 {
		a.canonical = canonicalName(r, node)
	}
	return a, errnoSuccess
}

// servicePorts knows the usual names without /etc/services.
func servicePorts(r *net.Resolver, service string, want hints) ([]uint16, Errno) {
	transports := want.transports()
	ports := make([]uint16, len(transports))
	if service == "" {
		return ports, errnoSuccess
	}
	if n, err := strconv.ParseUint(service, 10, 64); err == nil {
		if n > 0xffff {
			return nil, errnoAiservice
		}
		for i := range ports {
			ports[i] = uint16(n)
		}
		return ports, errnoSuccess
	}
	if want.flags&aiNumericserv != 0 {
		return nil, errnoAinoname
	}
	known := 0
	for i, t := range transports {
		network := "tcp"
		if t == socktypeDgram {
			network = "udp"
		}
		n, err := r.LookupPort(context.Background(), network, service)
		if err == nil {
			known = n
			ports[i] = uint16(n)
		}
	}
	if known == 0 {
		return nil, errnoAiservice
	}
	for i := range ports {
		if ports[i] == 0 {
			ports[i] = uint16(known)
		}
	}
	return ports, errnoSuccess
}

// addresses finds those of the node in the wanted family.
func addresses(r *net.Resolver, node string, want hints) ([]netip.Addr, Errno) {
	if node == "" {
		return want.pick(nowhere(want.flags&aiPassive != 0)), errnoSuccess
	}
	if addr, err := netip.ParseAddr(node); err == nil && addr.Zone() == "" {
		// ::ffff:1.2.3.4 stays what it is, an IPv6 address.
		list := want.pick([]netip.Addr{addr})
		if len(list) == 0 {
			return nil, errnoAiaddrfamily
		}
		return list, errnoSuccess
	}
	if want.flags&aiNumerichost != 0 {
		return nil, errnoAinoname
	}
	list, err := r.LookupNetIP(context.Background(), want.network(), node)
	if err != nil {
		return nil, lookupErrno(err)
	}
	for i := range list {
		list[i] = list[i].Unmap().WithZone("")
	}
	if list = want.pick(list); len(list) == 0 {
		return nil, errnoAinoname
	}
	return list, errnoSuccess
}

// nowhere are the addresses without a node: to listen on, or this machine.
func nowhere(passive bool) []netip.Addr {
	if passive {
		return []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
	}
	return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
}

// network is what to ask for, in the words of Go's net package.
func (t *hints) network() string {
	switch {
	case t.family == familyInet4:
		return "ip4"
	case t.family == familyInet6 && t.flags&aiV4mapped == 0:
		return "ip6"
	}
	return "ip"
}

// pick leaves the wanted family, in the order of preference. IPv4 in an IPv6
// form counts if nothing else is there, or everything is asked for.
func (t *hints) pick(list []netip.Addr) []netip.Addr {
	var v4, v6 []netip.Addr
	for _, a := range list {
		if a.Is4() {
			v4 = append(v4, a)
		} else {
			v6 = append(v6, a)
		}
	}
	switch t.family {
	case familyInet4:
		return v4
	case familyInet6:
		if t.flags&aiV4mapped != 0 && (len(v6) == 0 || t.flags&aiAll != 0) {
			for _, a := range v4 {
				v6 = append(v6, netip.AddrFrom16(a.As16()))
			}
		}
		return v6
	}
	if t.flags&aiAddrconfig != 0 {
		v4, v6 = configured(v4, v6)
	}
	return slices.Concat(v4, v6)
}

// configured drops the family of which this machine has no address besides the
// loopback's, unless that is both.
func configured(v4, v6 []netip.Addr) (have4, have6 []netip.Addr) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return v4, v6
	}
	for _, a := range list {
		prefix, err := netip.ParsePrefix(a.String())
		switch {
		case err != nil || prefix.Addr().IsLoopback():
		case prefix.Addr().Is4():
			have4 = v4
		default:
			have6 = v6
		}
	}
	if have4 == nil && have6 == nil {
		return v4, v6
	}
	return have4, have6
}

// lookupErrno tells a name that does not exist from a server that does not
// answer.
func lookupErrno(err error) Errno {
	var dns *net.DNSError
	switch {
	case errors.Is(err, errNameServer):
		return errnoAcces
	case !errors.As(err, &dns):
		return errnoAifail
	case dns.IsNotFound:
		return errnoAinoname
	case dns.IsTimeout || dns.IsTemporary:
		return errnoAiagain
	}
	return errnoAifail
}

// canonicalName is the name behind aliases, the node itself if there is none.
func canonicalName(r *net.Resolver, node string) string {
	if _, err := netip.ParseAddr(node); err == nil {
		return node
	}
	name, err := r.LookupCNAME(context.Background(), node)
	if err != nil || name == "" {
		return node
	}
	return strings.TrimSuffix(name, ".")
}
