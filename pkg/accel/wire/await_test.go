package wire

import (
	"testing"

	"golang.org/x/sys/unix"
)

// Await only ever waits for what receive would find, and takes nothing from it.
func TestAwait(t *testing.T) {
	for name, test := range map[string]struct {
		before func(peer int) error
		want   int
		err    bool
	}{
		"a message":           {func(peer int) error { return send(peer, []byte("abc")) }, 3, false},
		"a peer that is gone": {unix.Close, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			conn, peer, err := Socketpair()
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(conn)
			if err := test.before(peer); err != nil {
				t.Fatal(err)
			}
			if !await(conn) {
				t.Error("nothing to receive")
			}
			n, _, err := receive(conn, make([]byte, 8), 0)
			if n != test.want || (err != nil) != test.err {
				t.Errorf("%d bytes, %v", n, err)
			}
			if !test.err {
				_ = unix.Close(peer)
			}
		})
	}
	t.Run("nothing", func(t *testing.T) {
		conn, peer, err := Socketpair()
		if err != nil {
			t.Fatal(err)
		}
		defer closeAll([]int{conn, peer})
		if await(conn) {
			t.Error("something to receive")
		}
	})
}
