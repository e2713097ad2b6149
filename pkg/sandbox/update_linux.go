package sandbox

import (
	"errors"
	"slices"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/intelrdt"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// UpdateArgs says which limits of a container to change.
type UpdateArgs struct {
	ID string
	// Resources holds the new values; what it leaves out stays as it is.
	// Devices, network and huge pages of it are not looked at.
	Resources specs.LinuxResources
	// L3CacheSchema and MemBwSchema are Intel RDT's, "" for no change.
	L3CacheSchema, MemBwSchema string
}

// Update changes the limits of a container that is not stopped. On error the
// old ones are in force.
func (r *Runtime) Update(a UpdateArgs) error {
	c, err := r.load(a.ID)
	if err != nil {
		return err
	}
	config := c.Config()
	if config.Cgroups == nil || config.Cgroups.Resources == nil {
		return errors.New("the container has no cgroup configuration")
	}
	// Device rules cannot be changed here, and are not written again: somebody
	// may have added to them. The field is not kept in state.json. It is set in
	// the old resources too, which libcontainer writes back on error.
	config.Cgroups.SkipDevices = true
	// The container keeps the old values to go back to, so they must not
	// change with the new ones.
	cg, res := *config.Cgroups, *config.Cgroups.Resources
	cg.Resources, config.Cgroups = &res, &cg
	updateBlockIO(&res, a.Resources.BlockIO)
	updateCPU(&res, a.Resources.CPU)
	updateMemory(&res, a.Resources.Memory)
	res.PidsLimit = nil // not kept from the creation: nil is "as it is"
	if p := a.Resources.Pids; p != nil {
		res.PidsLimit = p.Limit
	}
	res.Unified = a.Resources.Unified
	if err := updateRDT(&config, a); err != nil {
		return err
	}
	return c.Set(config)
}

// updateCPU takes quota and period together or, where only one is given, with
// the other's old value: systemd and cgroup v2 take them as a pair.
func updateCPU(res *cgroups.Resources, c *specs.LinuxCPU) {
	if c == nil {
		c = &specs.LinuxCPU{}
	}
	period, quota := or(c.Period, 0), or(c.Quota, 0)
	if period != 0 || quota == 0 {
		res.CpuPeriod = period
	}
	if quota != 0 || period == 0 {
		res.CpuQuota = quota
	}
	res.CpuBurst, res.CPUIdle = c.Burst, c.Idle
	res.CpusetCpus, res.CpusetMems = c.Cpus, c.Mems
	shares := c.Shares
	if c.Idle != nil && shares == nil {
		// The kernel refuses a weight for an idle cgroup (cgroup-v2, cpu.idle).
		shares = new(uint64)
	}
	if shares != nil {
		res.CpuShares = *shares
		res.CpuWeight = cgroups.ConvertCPUSharesToCgroupV2Value(*shares)
	}
	res.CpuRtPeriod = or(c.RealtimePeriod, res.CpuRtPeriod)
	res.CpuRtRuntime = or(c.RealtimeRuntime, res.CpuRtRuntime)
}

func updateMemory(res *cgroups.Resources, m *specs.LinuxMemory) {
	if m == nil {
		return
	}
	swap := m.Swap
	if m.Limit != nil && *m.Limit == -1 && swap == nil {
		// An old swap limit must not outlive the limit that it is on top of.
		swap = new(int64)
	}
	res.Memory = or(m.Limit, res.Memory)
	res.MemorySwap = or(swap, res.MemorySwap)
	res.MemoryReservation = or(m.Reservation, res.MemoryReservation)
	res.MemoryCheckBeforeUpdate = or(m.CheckBeforeUpdate, false)
}

// or gives what p points to, else old.
func or[T any](p *T, old T) T {
	if p == nil {
		return old
	}
	return *p
}

func updateBlockIO(res *cgroups.Resources, b *specs.LinuxBlockIO) {
	if b == nil {
		return
	}
	res.BlkioWeight = or(b.Weight, res.BlkioWeight)
	res.BlkioLeafWeight = or(b.LeafWeight, res.BlkioLeafWeight)
	for _, d := range b.WeightDevice {
		old := cgroups.NewWeightDevice(d.Major, d.Minor, 0, 0)
		i := lastIndex(res.BlkioWeightDevice, func(w *cgroups.WeightDevice) bool { return w.Major == d.Major && w.Minor == d.Minor })
		if i >= 0 {
			old = res.BlkioWeightDevice[i]
		}
		set := cgroups.NewWeightDevice(d.Major, d.Minor, or(d.Weight, old.Weight), or(d.LeafWeight, old.LeafWeight))
		res.BlkioWeightDevice = upsert(res.BlkioWeightDevice, i, set)
	}
	for _, list := range []struct {
		to  *[]*cgroups.ThrottleDevice
		set []specs.LinuxThrottleDevice
	}{
		{&res.BlkioThrottleReadBpsDevice, b.ThrottleReadBpsDevice},
		{&res.BlkioThrottleWriteBpsDevice, b.ThrottleWriteBpsDevice},
		{&res.BlkioThrottleReadIOPSDevice, b.ThrottleReadIOPSDevice},
		{&res.BlkioThrottleWriteIOPSDevice, b.ThrottleWriteIOPSDevice},
	} {
		for _, d := range list.set {
			i := lastIndex(*list.to, func(t *cgroups.ThrottleDevice) bool { return t.Major == d.Major && t.Minor == d.Minor })
			*list.to = upsert(*list.to, i, cgroups.NewThrottleDevice(d.Major, d.Minor, d.Rate))
		}
	}
}

// lastIndex finds the entry that is in force: of several for one device, the
// last.
func lastIndex[T any](list []T, is func(T) bool) int {
	for i, v := range slices.Backward(list) {
		if is(v) {
			return i
		}
	}
	return -1
}

// upsert replaces entry i, or appends for -1, in a copy of the list.
func upsert[T any](list []T, i int, v T) []T {
	list = slices.Clone(list)
	if i < 0 {
		return append(list, v)
	}
	list[i] = v
	return list
}

func updateRDT(config *configs.Config, a UpdateArgs) error {
	switch {
	case a.L3CacheSchema == "" && a.MemBwSchema == "":
		return nil
	case a.L3CacheSchema != "" && !intelrdt.IsCATEnabled():
		return errors.New("linux.intelRdt.l3CacheSchema: Intel RDT/CAT: l3 cache schema is not enabled")
	case a.MemBwSchema != "" && !intelrdt.IsMBAEnabled():
		return errors.New("linux.intelRdt.memBwSchema: Intel RDT/MBA: memory bandwidth schema is not enabled")
	case config.IntelRdt == nil:
		return errors.New("updating a non-existent Intel RDT configuration is not supported")
	}
	rdt := *config.IntelRdt
	if a.L3CacheSchema != "" {
		rdt.L3CacheSchema = a.L3CacheSchema
	}
	if a.MemBwSchema != "" {
		rdt.MemBwSchema = a.MemBwSchema
	}
	config.IntelRdt = &rdt
	return nil
}
