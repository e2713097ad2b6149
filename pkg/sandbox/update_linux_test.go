package sandbox

import (
	"testing"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestUpdateCPU(t *testing.T) {
	period, quota, none := uint64(50_000), int64(25_000), uint64(0)
	cases := []struct {
		name       string
		in         specs.LinuxCPU
		wantPeriod uint64
		wantQuota  int64
	}{
		{"neither", specs.LinuxCPU{}, 0, 0},
		{"both", specs.LinuxCPU{Period: &period, Quota: &quota}, 50_000, 25_000},
		{"period", specs.LinuxCPU{Period: &period}, 50_000, 7},
		{"quota", specs.LinuxCPU{Quota: &quota}, 100_000, 25_000},
		{"zero is not set", specs.LinuxCPU{Period: &none, Quota: &quota}, 100_000, 25_000},
	}
	for _, c := range cases {
		res := &cgroups.Resources{CpuPeriod: 100_000, CpuQuota: 7, CpuShares: 512, CpuWeight: 20}
		updateCPU(res, &c.in)
		if res.CpuPeriod != c.wantPeriod || res.CpuQuota != c.wantQuota || res.CpuShares != 512 || res.CpuWeight != 20 {
			t.Errorf("%s: %+v", c.name, res)
		}
	}
	idle := int64(1)
	res := &cgroups.Resources{CpuShares: 512, CpuWeight: 20}
	if updateCPU(res, &specs.LinuxCPU{Idle: &idle}); res.CpuWeight != 0 || res.CpuShares != 0 || res.CPUIdle != &idle {
		t.Errorf("an idle cgroup keeps its weight: %+v", res)
	}
}

func TestUpdateMemory(t *testing.T) {
	unlimited, limit := int64(-1), int64(64<<20)
	res := &cgroups.Resources{Memory: 1, MemorySwap: 2, MemoryReservation: 3, MemoryCheckBeforeUpdate: true}
	if updateMemory(res, nil); res.Memory != 1 || res.MemorySwap != 2 {
		t.Errorf("nothing given: %+v", res)
	}
	if updateMemory(res, &specs.LinuxMemory{Limit: &limit}); res.Memory != limit || res.MemorySwap != 2 || res.MemoryReservation != 3 || res.MemoryCheckBeforeUpdate {
		t.Errorf("a limit: %+v", res)
	}
	if updateMemory(res, &specs.LinuxMemory{Limit: &unlimited}); res.Memory != -1 || res.MemorySwap != 0 {
		t.Errorf("no limit: %+v", res)
	}
}

// TestUpdateBlockIO: of several entries for one device the last counts, and the
// old lists stay as they are.
func TestUpdateBlockIO(t *testing.T) {
	weight, leaf := uint16(300), uint16(400)
	before := &cgroups.Resources{
		BlkioWeight:                100,
		BlkioWeightDevice:          []*cgroups.WeightDevice{cgroups.NewWeightDevice(8, 0, 10, 20), cgroups.NewWeightDevice(8, 0, 30, 40)},
		BlkioThrottleReadBpsDevice: []*cgroups.ThrottleDevice{cgroups.NewThrottleDevice(8, 0, 1)},
	}
	res := *before
	updateBlockIO(&res, nil)
	throttle := specs.LinuxThrottleDevice{Rate: 99}
	throttle.Major = 8
	changed := specs.LinuxWeightDevice{Weight: &weight}
	changed.Major = 8
	added := specs.LinuxWeightDevice{LeafWeight: &leaf}
	added.Major = 9
	updateBlockIO(&res, &specs.LinuxBlockIO{
		WeightDevice:           []specs.LinuxWeightDevice{changed, added},
		ThrottleReadBpsDevice:  []specs.LinuxThrottleDevice{throttle},
		ThrottleWriteBpsDevice: []specs.LinuxThrottleDevice{throttle},
	})
	got := ""
	for _, d := range res.BlkioWeightDevice {
		got += d.WeightString() + " " + d.LeafWeightString() + ", "
	}
	for _, d := range append(res.BlkioThrottleReadBpsDevice, res.BlkioThrottleWriteBpsDevice...) {
		got += d.String() + ", "
	}
	if want := "8:0 10 8:0 20, 8:0 300 8:0 40, 9:0 0 9:0 400, 8:0 99, 8:0 99, "; got != want || res.BlkioWeight != 100 {
		t.Errorf("got %s want %s", got, want)
	}
	if d := before.BlkioWeightDevice[1]; d.Weight != 30 || before.BlkioThrottleReadBpsDevice[0].Rate != 1 || len(before.BlkioWeightDevice) != 2 {
		t.Errorf("the old values were changed: %+v", d)
	}
}
