package ggml

import (
	"runtime"

	"github.com/ebitengine/purego"
)

// poolParams is ggml_threadpool_params. Its tail is room for a later version's.
type poolParams struct {
	_        [512]bool // processors; none set is all
	threads  int32
	priority int32
	poll     uint32
	_        [4096]byte
}

// defaultPoll is the library's percentage of spinning; it tells the layout.
const defaultPoll = 50

// pool gives the threads that all contexts compute with, as many as there are
// processors; 0 if the library has none. Without one it starts and ends threads
// for every token. It lives as long as the library: a context may name it to its
// end, and one computes at a time.
func (b *Backend) pool() poolPtr {
	if b.poolMade {
		return b.threads
	}
	b.poolMade = true
	lib := b.lib
	for _, d := range lib.devices() {
		if d.kind != kindCPU {
			continue
		}
		symbol := lib.procAddress(lib.registryOf(d.ptr), "ggml_threadpool_new")
		if symbol == 0 {
			continue
		}
		p, n := new(poolParams), int32(b.poolSize())
		lib.poolDefaults(p, n)
		if p.threads != n || p.priority != 0 || p.poll != defaultPoll {
			b.say("unknown layout of ggml_threadpool_params: threads are started for every computation")
			return 0
		}
		// Between two tokens the processors are the guest's.
		p.poll = 0
		var make func(*poolParams) poolPtr
		purego.RegisterFunc(&make, symbol)
		b.threads = make(p)
		break
	}
	return b.threads
}

func (b *Backend) poolSize() int { return min(runtime.GOMAXPROCS(0), maxThreads) }
