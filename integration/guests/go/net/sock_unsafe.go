//go:build wasip1

package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"syscall"
	"unsafe"
)

//go:wasmimport wasi_snapshot_preview1 sock_open
//go:noescape
func sockOpen(family, kind int32, fd unsafe.Pointer) uint32

//go:wasmimport wasi_snapshot_preview1 sock_bind
//go:noescape
func sockBind(fd int32, addr unsafe.Pointer, port uint32) uint32

//go:wasmimport wasi_snapshot_preview1 sock_listen
//go:noescape
func sockListen(fd, backlog int32) uint32

//go:wasmimport wasi_snapshot_preview1 sock_connect
//go:noescape
func sockConnect(fd int32, addr unsafe.Pointer, port uint32) uint32

//go:wasmimport wasi_snapshot_preview1 sock_getsockopt
//go:noescape
func sockGetsockopt(fd, level, name int32, value unsafe.Pointer, size uint32) uint32

//go:wasmimport wasi_snapshot_preview1 sock_getaddrinfo
//go:noescape
func sockGetaddrinfo(node unsafe.Pointer, nodeLen uint32, service unsafe.Pointer, serviceLen uint32, hints, res unsafe.Pointer, limit uint32, n unsafe.Pointer) uint32

// buffer is a pointer and a length as a 32-bit host reads them.
type buffer struct {
	ptr uint32
	len uint32
}

func address32(p unsafe.Pointer) uint32 { return uint32(uintptr(p)) }

// anyAddress is the 128-byte form of an address.
func anyAddress(ip [4]byte) *[128]byte {
	b := &[128]byte{1}
	copy(b[2:], ip[:])
	return b
}

func errno(n uint32) error {
	if n == 0 {
		return nil
	}
	return syscall.Errno(n)
}

func open() (int32, error) {
	fd := int32(-1)
	if err := errno(sockOpen(1, 2, unsafe.Pointer(&fd))); err != nil {
		return -1, fmt.Errorf("open: %w", err)
	}
	return fd, syscall.SetNonblock(int(fd), true)
}

func listen(ip [4]byte, port uint16) (net.Listener, error) {
	fd, err := open()
	if err != nil {
		return nil, err
	}
	data := anyAddress(ip)
	b := buffer{address32(unsafe.Pointer(data)), 128}
	if err := errno(sockBind(fd, unsafe.Pointer(&b), uint32(port))); err != nil {
		return nil, fmt.Errorf("bind: %w", err)
	}
	runtime.KeepAlive(data)
	if err := errno(sockListen(fd, 4096)); err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	f := os.NewFile(uintptr(fd), "listener")
	defer f.Close()
	return net.FileListener(f)
}

// dial waits for the connection as Go's net does: until it is writable, then by its error,
// whose size it passes by value.
func dial(ip [4]byte, port uint16) (net.Conn, error) {
	fd, err := open()
	if err != nil {
		return nil, err
	}
	data := anyAddress(ip)
	b := buffer{address32(unsafe.Pointer(data)), 128}
	connectErr := errno(sockConnect(fd, unsafe.Pointer(&b), uint32(port)))
	runtime.KeepAlive(data)
	if connectErr != nil && connectErr != syscall.EINPROGRESS {
		return nil, fmt.Errorf("connect: %w", connectErr)
	}
	f := os.NewFile(uintptr(fd), "connection")
	defer f.Close()
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	first, failed := true, uint32(0)
	err = raw.Write(func(fd uintptr) bool {
		if first && connectErr != nil {
			first = false
			return false
		}
		err = errno(sockGetsockopt(int32(fd), 0, 2, unsafe.Pointer(&failed), 4))
		return true
	})
	if err == nil {
		err = errno(failed)
	}
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return net.FileConn(f)
}

// addrinfo and sockaddr are laid out as the library for Go's guests has them: their sizes say
// to the host where to put an IPv6 address.
type addrinfo struct {
	flags                uint16
	family, kind         uint8
	protocol             uint32
	addrlen              uint32
	addr, name, nameSize uint32
	next                 uint32
}

type sockaddr struct {
	family, size, data uint32
	spare              [4]byte
}

func lookup(node, service string) error {
	const limit = 16
	var (
		list  [limit]addrinfo
		addrs [limit]sockaddr
		data  [limit][26]byte
		names [limit][30]byte
		hints addrinfo
		n     uint32
	)
	for i := range list {
		addrs[i] = sockaddr{size: 26, data: address32(unsafe.Pointer(&data[i]))}
		list[i] = addrinfo{addrlen: 16, addr: address32(unsafe.Pointer(&addrs[i])), name: address32(unsafe.Pointer(&names[i])), nameSize: 30}
		if i > 0 {
			list[i-1].next = address32(unsafe.Pointer(&list[i]))
		}
	}
	hints.kind = 2
	first := address32(unsafe.Pointer(&list))
	nodeText, serviceText := append([]byte(node), 0), append([]byte(service), 0)
	err := errno(sockGetaddrinfo(unsafe.Pointer(&nodeText[0]), uint32(len(nodeText)), unsafe.Pointer(&serviceText[0]), uint32(len(serviceText)),
		unsafe.Pointer(&hints), unsafe.Pointer(&first), limit, unsafe.Pointer(&n)))
	if err != nil {
		return err
	}
	for i := range n {
		d := data[i][:]
		octets := d[2:6]
		if list[i].family == 2 {
			octets = d[2:18]
		}
		ip, _ := netip.AddrFromSlice(octets)
		fmt.Println(netip.AddrPortFrom(ip, uint16(d[0])<<8|uint16(d[1])))
	}
	runtime.KeepAlive(&addrs)
	runtime.KeepAlive(&names)
	return nil
}
