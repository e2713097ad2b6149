package hostfuncs

import (
	"encoding/binary"
	"testing"

	"github.com/runw/runw/pkg/hostfuncs/abi"
)

// wasmedgeFunction is one import as guests of WasmEdge have it.
type wasmedgeFunction struct {
	name, params string
	version      int // 0: both versions have this type
}

// wasmedge is every function of WasmEdge 0.13 to 0.17's socket extension, and
// those of preview1 that have a second name there.
var wasmedge = [...]wasmedgeFunction{
	{"sock_open", "iii", 0},
	{"sock_bind", "iii", 0},
	{"sock_listen", "ii", 0},
	{"sock_accept", "ii", 1},
	{"sock_accept", "iii", 2},
	{"sock_connect", "iii", 0},
	{"sock_recv", "iiiiii", 0},
	{"sock_recv_from", "iiiiiii", 1},
	{"sock_recv_from", "iiiiiiii", 2},
	{"sock_send", "iiiii", 0},
	{"sock_send_to", "iiiiiii", 0},
	{"sock_shutdown", "ii", 0},
	{"sock_getsockopt", "iiiii", 0},
	{"sock_setsockopt", "iiiii", 0},
	{"sock_getlocaladdr", "iiii", 1},
	{"sock_getlocaladdr", "iii", 2},
	{"sock_getpeeraddr", "iiii", 1},
	{"sock_getpeeraddr", "iii", 2},
	{"sock_getaddrinfo", "iiiiiiii", 0},
	{"epoll_oneoff", "iiii", 0},
}

func i32Import(name, params string) abi.Import {
	return abi.Import{Module: preview1, Name: name, Sig: abi.Signature{Params: valueTypes(params), Results: valueTypes("i")}}
}

// sock calls the function of WasmEdge that has as many parameters.
func (g *guest) sock(name string, args ...uint64) Errno {
	g.t.Helper()
	params := make([]byte, len(args))
	for i := range params {
		params[i] = 'i'
	}
	f := g.imported(i32Import(name, string(params)))
	stack := append([]uint64(nil), args...)
	for i := range stack {
		stack[i] = uint64(uint32(stack[i])) | 0xdeadbeef<<32
	}
	if err := f.Call(g.mem, stack); err != nil {
		g.t.Fatalf("%s%v ends the guest: %v", name, args, err)
	}
	return Errno(stack[0])
}

func (g *guest) imported(im abi.Import) abi.Func {
	g.t.Helper()
	id := im.Name + im.Sig.String()
	f, ok := g.funcs[id]
	if !ok {
		list, err := g.Link([]abi.Import{im})
		if err != nil {
			g.t.Fatal(err)
		}
		f = g.trying(list[0])
		g.funcs[id] = f
	}
	return f
}

func (g *guest) sockMust(name string, args ...uint64) {
	g.t.Helper()
	if errno := g.sock(name, args...); errno != errnoSuccess {
		g.t.Fatalf("%s%v = %s", name, args, errno)
	}
}

func (g *guest) sockWant(errno Errno, name string, args ...uint64) {
	g.t.Helper()
	if got := g.sock(name, args...); got != errno {
		g.t.Errorf("%s%v = %s, want %s", name, args, got, errno)
	}
}

// address lays out a __wasi_address_t over a buffer of n bytes with content.
func (g *guest) address(n int, content ...byte) uint64 {
	g.t.Helper()
	buf := g.alloc(n)
	copy(g.bytes(buf, uint64(n)), content)
	ptr := g.alloc(addressSize)
	g.mem.PutUint32(uint32(ptr), uint32(buf))
	g.mem.PutUint32(uint32(ptr)+4, uint32(n))
	return ptr
}

// any is an address of 128 bytes.
func (g *guest) any(family uint16, data ...byte) uint64 {
	g.t.Helper()
	return g.address(addressAny, append(binary.LittleEndian.AppendUint16(nil, family), data...)...)
}

// inside are the bytes that an address names.
func (g *guest) inside(addr uint64) []byte {
	g.t.Helper()
	return g.bytes(uint64(g.u32(addr)), uint64(g.u32(addr+4)))
}

// open gives a new socket.
func (g *guest) openSocket(family, kind uint64) uint64 {
	g.t.Helper()
	out := g.alloc(4)
	g.sockMust("sock_open", family, kind, out)
	return uint64(g.u32(out))
}

func TestWasmedgeImports(t *testing.T) {
	g := newGuest(t, Config{})
	for _, f := range wasmedge {
		names := []string{f.name}
		for _, v := range versioned {
			if v == f.name && f.version != 1 {
				names = append(names, f.name+versionTwo)
			}
		}
		for _, name := range names {
			found, err := find(ptr(i32Import(name, f.params)))
			if err != nil || found.name != f.name || found.params != f.params {
				t.Errorf("%s %s: %+v, %v", name, f.params, found, err)
			}
		}
	}
	// WasmEdge 0.9's types, and others that nobody has: dead code in a guest.
	for _, f := range []struct{ name, params string }{
		{"sock_recv_from", "iiiiii"}, {"sock_send_to", "iiiiii"}, {"sock_accept", "iiii"}, {"sock_open", "Ii"},
		{"sock_accept_v2", "ii"}, {"sock_getlocaladdr_v2", "iiii"}, {"sock_bind", "fF"}, {"sock_shutdown", ""},
	} {
		im := i32Import(f.name, f.params)
		if err := Check([]abi.Import{im}); err != nil {
			t.Error(err)
			continue
		}
		stack := make([]uint64, max(len(f.params), 1))
		if err := g.imported(im).Call(g.mem, stack); err != nil || Errno(stack[0]) != errnoNosys {
			t.Errorf("%s %s: %v, %s", f.name, f.params, err, Errno(stack[0]))
		}
	}
	for _, im := range []abi.Import{
		i32Import("sock_sendfile", "ii"), i32Import("epoll_oneoff", "ii"), i32Import("sock_shutdown_v2", "ii"),
		{Module: preview1, Name: "sock_open", Sig: abi.Signature{Params: valueTypes("iii")}},
		{Module: "env", Name: "sock_open", Sig: abi.Signature{Params: valueTypes("iii"), Results: valueTypes("i")}},
	} {
		if err := Check([]abi.Import{im}); err == nil {
			t.Errorf("%s.%s %s is accepted", im.Module, im.Name, im.Sig)
		}
	}
}

func ptr[T any](v T) *T { return &v }
