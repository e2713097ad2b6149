package hostfuncs

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func TestNetPolicyReach(t *testing.T) {
	for _, c := range []struct {
		policy, to string
		want       bool
	}{
		{"", "192.0.2.1:1", true},
		{"none", "127.0.0.1:1", false},
		{"listen", "127.0.0.1:1", false},
		{"10.0.0.0/8:443", "10.1.2.3:443", true},
		{"10.0.0.0/8:443", "10.1.2.3:444", false},
		{"10.0.0.0/8:443", "11.1.2.3:443", false},
		// The same address in IPv6's clothes.
		{"10.0.0.0/8:443", "[::ffff:10.1.2.3]:443", true},
		{"[::/0]:*", "[::ffff:10.1.2.3]:443", false},
		{"[2001:db8::/32]:1-1024", "[2001:db8::1]:1024", true},
		{"[2001:db8::/32]:1-1024", "[2001:db8::1]:1025", false},
		// What the kernel takes for this machine.
		{"0.0.0.0/32:*", "0.0.0.0:1", false},
		{"127.0.0.1:1", "0.0.0.0:1", true},
		{"[::1]:1", "[::]:1", false},
		{"[::1]:1,127.0.0.1:1", "[::]:1", true},
		{"listen,unix,192.0.2.1:*", "192.0.2.1:0", true},
	} {
		p, err := ParseNetPolicy(c.policy)
		if err != nil {
			t.Errorf("%q: %v", c.policy, err)
			continue
		}
		to := netip.MustParseAddrPort(c.to)
		var a sockaddr
		if to.Addr().Is4() {
			a.setV4(to.Addr().AsSlice(), to.Port())
		} else {
			a.setV6(to.Addr().AsSlice(), to.Port())
		}
		if got := p.mayReach(&a); got != c.want {
			t.Errorf("%q lets reach %s: %t", c.policy, c.to, got)
		}
	}
}

// FuzzParseNetPolicy: what is accepted is what was meant.
func FuzzParseNetPolicy(f *testing.F) {
	for _, s := range []string{
		"", "none", "listen", "unix,listen", "10.0.0.0/8:443", "[2001:db8::/32]:1-2", "127.0.0.1:*", "[::1]:80",
		"1.2.3.4", ":80", "[::1:80", "10.0.0.1/8:1", "1.2.3.4:2-1", "none,listen", ",", "[1.2.3.4]:1", "::1:1", "[fe80::1%x]:1",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParseNetPolicy(s)
		if err != nil {
			if !errors.Is(err, ErrNetPolicy) {
				t.Errorf("%q: %v", s, err)
			}
			return
		}
		if p.Restricted != (s != "") || len(p.Reach) > strings.Count(s, ",")+1 {
			t.Errorf("%q gives %+v", s, p)
		}
		for _, r := range p.Reach {
			if !r.Prefix.IsValid() || r.Prefix != r.Prefix.Masked() || r.First > r.Last {
				t.Errorf("%q gives the rule %+v", s, r)
			}
		}
	})
}
