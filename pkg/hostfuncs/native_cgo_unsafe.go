//go:build cgo

package hostfuncs

// #include <sys/epoll.h>
// #include "native.h"
import "C"

import (
	"unsafe"

	"github.com/runw/runw/pkg/hostfuncs/abi"
	"golang.org/x/sys/unix"
)

// Both languages have the same layouts, or this does not compile.
var (
	_ [C.sizeof_struct_native_guest]byte = [unsafe.Sizeof(nativeGuest{})]byte{}
	_ [C.sizeof_struct_native_file]byte  = [unsafe.Sizeof(nativeFile{})]byte{}
	_ [C.sizeof_struct_native_slot]byte  = [unsafe.Sizeof(nativeSlot{})]byte{}
	_ [C.sizeof_struct_epoll_event]byte  = [unsafe.Sizeof(unix.EpollEvent{})]byte{}

	_ [C.NATIVE_SOCKET]byte   = [nativeSocket]byte{}
	_ [C.NATIVE_STREAM]byte   = [nativeStream]byte{}
	_ [C.NATIVE_NONBLOCK]byte = [nativeNonblock]byte{}

	_ [C.NATIVE_FEW]byte  = [pollFew]byte{}
	_ [C.NATIVE_MOST]byte = [pollMost]byte{}
)

// nativeCall is the address of the function in native.c that does what f does,
// 0 if there is none.
func nativeCall(f *function) uintptr {
	switch f.name {
	case "sock_recv":
		return uintptr(C.runw_native_sock_recv)
	case "sock_send":
		return uintptr(C.runw_native_sock_send)
	case "fd_read":
		return uintptr(C.runw_native_fd_read)
	case "fd_write":
		return uintptr(C.runw_native_fd_write)
	case "poll_oneoff":
		return uintptr(C.runw_native_poll_oneoff)
	}
	return 0
}

// tryNative calls such a function as an engine's C side does; false if the call
// is passed on.
func tryNative(call, env uintptr, mem abi.Memory, stack []uint64) bool {
	return C.runw_native_try(C.uintptr_t(call), C.uintptr_t(env), (*C.uint8_t)(unsafe.SliceData(mem)), C.size_t(len(mem)),
		(*C.uint64_t)(unsafe.SliceData(stack))) == C.NATIVE_DONE
}
