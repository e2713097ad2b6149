package aot

import (
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// Native guest code has no points where Go could stop it. A garbage collection
// started by any goroutine waits for all others to stop, so with a guest in a
// tight loop the whole process, signal handling included, would wait for the
// guest. So while a guest runs, a collection starts only from the guest's own
// goroutine, at a host call.
const (
	// gcCheckCalls is how many host calls go by between looks at the heap. A
	// look takes about a microsecond.
	gcCheckCalls = 1024
	// gcMinHeap is garbage not worth a collection.
	gcMinHeap = 16 << 20
	// gcHardHeap is how far the heap may grow without a host call (a guest that
	// throws exceptions allocates in the engine) before Go collects by itself
	// and the risk of waiting for the guest is taken.
	gcHardHeap = 256 << 20
)

// collector runs garbage collections while a guest runs. It belongs to the
// guest's goroutine.
type collector struct {
	calls  uint32
	next   uint64 // heap bytes at which to collect
	sample []metrics.Sample

	percent int
	limit   int64
}

// startCollector turns automatic collection off. GOMAXPROCS is set even if it
// keeps its value: setting it ends Go's own updates from the cgroup's CPU
// limit, which stop the world (Go 1.25); and it must leave a processor for the
// signal handler beside the guest.
func startCollector() *collector {
	c := &collector{sample: []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}}
	runtime.GOMAXPROCS(max(2, runtime.GOMAXPROCS(0)))
	c.percent = debug.SetGCPercent(-1)
	heap := c.heap()
	c.next = heap + max(heap, gcMinHeap)
	c.limit = debug.SetMemoryLimit(int64(heap) + gcHardHeap)
	return c
}

func (c *collector) stop() {
	debug.SetMemoryLimit(c.limit)
	debug.SetGCPercent(c.percent)
}

func (c *collector) heap() uint64 {
	metrics.Read(c.sample)
	if v := c.sample[0].Value; v.Kind() == metrics.KindUint64 {
		return v.Uint64()
	}
	return math.MaxUint64 / 4
}

// hostCall counts a host call and collects if the heap has grown enough.
func (c *collector) hostCall() {
	if c.calls++; c.calls%gcCheckCalls == 0 {
		c.collect()
	}
}

func (c *collector) collect() {
	if c.heap() < c.next {
		return
	}
	runtime.GC()
	heap := c.heap()
	c.next = heap + max(heap, gcMinHeap)
	debug.SetMemoryLimit(int64(heap) + int64(max(heap, gcHardHeap)))
}
