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

// pools are threads that contexts compute with. Contexts that want as many share
// them: one computes at a time.
type pools struct {
	lib  *library
	say  func(string)
	open map[int32]*pool
	// nil before the first pool, and where the library has none
	start func(*poolParams) poolPtr
	end   func(poolPtr)
}

// pool is some threads, and how many contexts name it.
type pool struct {
	ptr     poolPtr
	threads int32
	uses    int
}

// take gives so many threads until leave. It is nil where the library starts and
// ends threads for each computation: if it has no pools; for one thread, which needs
// none; and for more than there are processors, which are not to stay.
func (p *pools) take(threads int32) *pool {
	if threads < 2 || int(threads) > runtime.GOMAXPROCS(0) || !p.find() {
		return nil
	}
	shared := p.open[threads]
	if shared == nil {
		params := new(poolParams)
		p.lib.poolDefaults(params, threads)
		if params.threads != threads || params.priority != 0 || params.poll != defaultPoll {
			p.say("unknown layout of ggml_threadpool_params: threads are started for each computation")
			return nil
		}
		// The least: some milliseconds, which last from one token to the next but
		// leave the processors to a guest that thinks.
		params.poll = 1
		shared = &pool{ptr: p.start(params), threads: threads}
		if shared.ptr == 0 {
			return nil
		}
		p.open[threads] = shared
	}
	shared.uses++
	return shared
}

// leave ends threads that no context names any more. The caller's is freed before:
// the library touches a context's pool until then.
func (p *pools) leave(shared *pool) {
	if shared.uses--; shared.uses == 0 {
		delete(p.open, shared.threads)
		p.end(shared.ptr)
	}
}

// find looks for the functions, which only the part of the library for CPUs has.
func (p *pools) find() bool {
	for i := range p.lib.deviceCount() {
		if p.start != nil {
			break
		}
		registry := p.lib.registryOf(p.lib.device(i))
		start, end := p.lib.procAddress(registry, "ggml_threadpool_new"), p.lib.procAddress(registry, "ggml_threadpool_free")
		if start != 0 && end != 0 {
			purego.RegisterFunc(&p.start, start)
			purego.RegisterFunc(&p.end, end)
		}
	}
	return p.start != nil
}
