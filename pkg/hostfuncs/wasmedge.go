package hostfuncs

import (
	"strings"

	"github.com/runw/runw/pkg/accel"
	"github.com/runw/runw/pkg/hostfuncs/abi"
)

// wasmedgeFunctions is WasmEdge's socket extension beyond what preview1 has. It
// lives under preview1's module name. The second version of a function is told
// by its type, or by the name with "_v2" behind; where both versions have one
// type they are one function here, which takes addresses of every size.
var wasmedgeFunctions = []function{
	{module: preview1, name: "sock_open", params: "iii", results: "i",
		names: "family,type,fd=4", call: (*Host).sockOpen},
	{module: preview1, name: "sock_bind", params: "iii", results: "i",
		names: "fd,addr,port", call: (*Host).sockBind},
	{module: preview1, name: "sock_listen", params: "ii", results: "i",
		names: "fd,backlog", call: (*Host).sockListen},
	{module: preview1, name: "sock_accept", params: "ii", results: "i",
		names: "fd,connection=4", call: (*Host).sockAcceptV1},
	{module: preview1, name: "sock_connect", params: "iii", results: "i",
		names: "fd,addr,port", call: (*Host).sockConnect},
	{module: preview1, name: "sock_recv_from", params: "iiiiiii", results: "i",
		names: "fd,ri_data,ri_data_len,addr,ri_flags,ro_datalen=4,ro_flags=2", call: (*Host).sockRecvFromV1},
	{module: preview1, name: "sock_recv_from", params: "iiiiiiii", results: "i",
		names: "fd,ri_data,ri_data_len,addr,ri_flags,port=4,ro_datalen=4,ro_flags=2", call: (*Host).sockRecvFromV2},
	{module: preview1, name: "sock_send_to", params: "iiiiiii", results: "i",
		names: "fd,si_data,si_data_len,addr,port,si_flags,so_datalen=4", call: (*Host).sockSendTo},
	{module: preview1, name: "sock_getsockopt", params: "iiiii", results: "i",
		names: "fd,level,name,flag,flag_size", call: (*Host).sockGetsockopt},
	{module: preview1, name: "sock_setsockopt", params: "iiiii", results: "i",
		names: "fd,level,name,flag,flag_size", call: (*Host).sockSetsockopt},
	{module: preview1, name: "sock_getlocaladdr", params: "iiii", results: "i",
		names: "fd,addr,addr_type=4,port=4", call: (*Host).sockGetlocaladdrV1},
	{module: preview1, name: "sock_getlocaladdr", params: "iii", results: "i",
		names: "fd,addr,port=4", call: (*Host).sockGetlocaladdrV2},
	{module: preview1, name: "sock_getpeeraddr", params: "iiii", results: "i",
		names: "fd,addr,addr_type=4,port=4", call: (*Host).sockGetpeeraddrV1},
	{module: preview1, name: "sock_getpeeraddr", params: "iii", results: "i",
		names: "fd,addr,port=4", call: (*Host).sockGetpeeraddrV2},
	{module: preview1, name: "sock_getaddrinfo", params: "iiiiiiii", results: "i",
		names: "node$,node_len,service$,service_len,hints,res,max_res_len,res_len=4", call: (*Host).sockGetaddrinfo},
	{module: preview1, name: "epoll_oneoff", params: "iiii", results: "i",
		names: "in,out,nsubscriptions,nevents=4", call: (*Host).epollOneoff},
}

// versionTwo ends the names under which WasmEdge registers the second version.
const versionTwo = "_v2"

// versioned are the functions that WasmEdge has in two versions.
var versioned = [...]string{
	"sock_open", "sock_bind", "sock_connect", "sock_listen", "sock_accept", "sock_recv",
	"sock_recv_from", "sock_send", "sock_send_to", "sock_getlocaladdr", "sock_getpeeraddr",
}

// plainName takes "_v2" off the name of a function that has two versions. The
// type tells which one is meant; the first version's types are not accepted
// under the second's name, for a guest that mixes them up would have its memory
// written to by surprise.
func plainName(im *abi.Import) string {
	plain, two := strings.CutSuffix(im.Name, versionTwo)
	if !two || im.Module != preview1 {
		return im.Name
	}
	for _, name := range versioned {
		if name == plain {
			return plain
		}
	}
	return im.Name
}

// firstVersion says that f must not be found under a name with "_v2".
func (f *function) firstVersion() bool {
	switch f.name {
	case "sock_accept":
		return f.params == "ii"
	case "sock_recv_from":
		return f.params == "iiiiiii"
	case "sock_getlocaladdr", "sock_getpeeraddr":
		return f.params == "iiii"
	}
	return false
}

// stub gives a function that answers NOSYS for a socket function of a type that
// no version has, and one that answers "unsupported operation" for whatever else
// of WASI-NN there may be; nil for other imports. Guests carry such imports as
// dead code: WasmEdge 0.9 had other types than any version since.
func stub(im *abi.Import) *function {
	nn := im.Module == nnModule
	if len(im.Sig.Results) != 1 || im.Sig.Results[0] != abi.I32 || !nn && (im.Module != preview1 || !isSockName(plainName(im))) {
		return nil
	}
	params := make([]byte, len(im.Sig.Params))
	for i, p := range im.Sig.Params {
		params[i] = typeLetter(p)
	}
	f := &function{
		module: im.Module, name: im.Name, params: string(params), results: "i",
		names: strings.TrimSuffix(strings.Repeat("_,", len(params)), ","),
	}
	if nn {
		f.nn = func(*Host, abi.Memory, []uint64) accel.Errno { return accel.ErrUnsupportedOperation }
	} else {
		f.call = func(*Host, abi.Memory, []uint64) Errno { return errnoNosys }
	}
	return f
}

func isSockName(name string) bool {
	if !strings.HasPrefix(name, "sock_") {
		return false
	}
	for _, family := range [...][]function{sockFunctions, wasmedgeFunctions} {
		for i := range family {
			if family[i].name == name {
				return true
			}
		}
	}
	return false
}

func typeLetter(t abi.ValueType) byte {
	switch t {
	case abi.I64:
		return 'I'
	case abi.F32:
		return 'f'
	case abi.F64:
		return 'F'
	}
	return 'i'
}
