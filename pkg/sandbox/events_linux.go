package sandbox

import (
	"fmt"
	"time"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/intelrdt"
	"github.com/opencontainers/runc/types"
	"github.com/sirupsen/logrus"
)

// Event is what `events` prints, with runc's names: Type is "stats" or "oom".
type Event = types.Event

// Stats gives one event of type "stats" about a container that is not stopped.
func (r *Runtime) Stats(id string) (*Event, error) {
	c, err := r.loadLive(id)
	if err != nil {
		return nil, err
	}
	return statsEvent(c)
}

// Watch calls emit with an event at each interval and whenever the kernel kills
// a process of the container for lack of memory, until the container's cgroup
// is gone or emit fails. What goes wrong with one collection goes to failed.
func (r *Runtime) Watch(id string, interval time.Duration, emit func(*Event) error, failed func(error)) error {
	c, err := r.loadLive(id)
	if err != nil {
		return err
	}
	oom, err := c.NotifyOOM()
	if err != nil {
		return err
	}
	ticks := time.NewTicker(interval)
	defer ticks.Stop()
	for {
		event := &Event{Type: "oom", ID: c.ID()}
		select {
		case _, ok := <-oom:
			if !ok {
				return nil
			}
		case <-ticks.C:
			if event, err = statsEvent(c); err != nil {
				failed(err)
				continue
			}
		}
		if err := emit(event); err != nil {
			return err
		}
	}
}

// stats are runc's, and a key of our own for a container whose program is a module.
type stats struct {
	*types.Stats
	Wasm *Wasm `json:"wasm,omitempty"`
}

func (r *Runtime) loadLive(id string) (*libcontainer.Container, error) {
	c, err := r.load(id)
	if err != nil {
		return nil, err
	}
	status, err := c.Status()
	if err != nil {
		return nil, err
	}
	if status == libcontainer.Stopped {
		return nil, stateError(fmt.Sprintf("container with id %s is not running", id))
	}
	return c, nil
}

func statsEvent(c *libcontainer.Container) (*Event, error) {
	s, err := c.Stats()
	if err != nil {
		return nil, err
	}
	event := &Event{Type: "stats", ID: c.ID()}
	if s.CgroupStats == nil {
		return event, nil
	}
	data := cgroupStats(s.CgroupStats)
	data.NetworkInterfaces = s.Interfaces
	if s.IntelRdtStats != nil {
		data.IntelRdt = rdtStats(s.IntelRdtStats)
	}
	wasm, err := wasmOf(c)
	if err != nil {
		// Of the container's figures these are the least.
		logrus.Debugf("container %q: %v", c.ID(), err)
	}
	event.Data = &stats{data, wasm}
	return event, nil
}

func cgroupStats(s *cgroups.Stats) *types.Stats {
	cpu, memory, blkio := &s.CpuStats, &s.MemoryStats, &s.BlkioStats
	out := &types.Stats{
		CPU: types.Cpu{
			Usage: types.CpuUsage{
				Total:        cpu.CpuUsage.TotalUsage,
				Percpu:       cpu.CpuUsage.PercpuUsage,
				PercpuKernel: cpu.CpuUsage.PercpuUsageInKernelmode,
				PercpuUser:   cpu.CpuUsage.PercpuUsageInUsermode,
				Kernel:       cpu.CpuUsage.UsageInKernelmode,
				User:         cpu.CpuUsage.UsageInUsermode,
			},
			Throttling: types.Throttling(cpu.ThrottlingData),
			PSI:        cpu.PSI,
		},
		CPUSet: types.CPUSet(s.CPUSetStats),
		Memory: types.Memory{
			Cache:     memory.Cache,
			Usage:     memoryEntry(memory.Usage),
			Swap:      memoryEntry(memory.SwapUsage),
			Kernel:    memoryEntry(memory.KernelUsage),
			KernelTCP: memoryEntry(memory.KernelTCPUsage),
			Raw:       memory.Stats,
			PSI:       memory.PSI,
		},
		Pids: types.Pids{Current: s.PidsStats.Current, Limit: s.PidsStats.Limit},
		Blkio: types.Blkio{
			IoServiceBytesRecursive: blkioEntries(blkio.IoServiceBytesRecursive),
			IoServicedRecursive:     blkioEntries(blkio.IoServicedRecursive),
			IoQueuedRecursive:       blkioEntries(blkio.IoQueuedRecursive),
			IoServiceTimeRecursive:  blkioEntries(blkio.IoServiceTimeRecursive),
			IoWaitTimeRecursive:     blkioEntries(blkio.IoWaitTimeRecursive),
			IoMergedRecursive:       blkioEntries(blkio.IoMergedRecursive),
			IoTimeRecursive:         blkioEntries(blkio.IoTimeRecursive),
			SectorsRecursive:        blkioEntries(blkio.SectorsRecursive),
			PSI:                     blkio.PSI,
		},
		Hugetlb: make(map[string]types.Hugetlb, len(s.HugetlbStats)),
	}
	for size, h := range s.HugetlbStats {
		out.Hugetlb[size] = types.Hugetlb{Usage: h.Usage, Max: h.MaxUsage, Failcnt: h.Failcnt}
	}
	return out
}

func memoryEntry(m cgroups.MemoryData) types.MemoryEntry {
	return types.MemoryEntry{Limit: m.Limit, Usage: m.Usage, Max: m.MaxUsage, Failcnt: m.Failcnt}
}

func blkioEntries(list []cgroups.BlkioStatEntry) []types.BlkioEntry {
	out := make([]types.BlkioEntry, len(list))
	for i, e := range list {
		out[i] = types.BlkioEntry(e)
	}
	return out
}

// rdtStats leaves out what the processor does not have.
func rdtStats(s *intelrdt.Stats) types.IntelRdt {
	out := types.IntelRdt{Schemata: s.Schemata}
	if intelrdt.IsCATEnabled() {
		out.L3CacheInfo = (*types.L3CacheInfo)(s.L3CacheInfo)
		out.L3CacheSchemaRoot, out.L3CacheSchema = s.L3CacheSchemaRoot, s.L3CacheSchema
	}
	if intelrdt.IsMBAEnabled() {
		out.MemBwInfo = (*types.MemBwInfo)(s.MemBwInfo)
		out.MemBwSchemaRoot, out.MemBwSchema = s.MemBwSchemaRoot, s.MemBwSchema
	}
	if intelrdt.IsMBMEnabled() {
		out.MBMStats = s.MBMStats
	}
	if intelrdt.IsCMTEnabled() {
		out.CMTStats = s.CMTStats
	}
	return out
}
