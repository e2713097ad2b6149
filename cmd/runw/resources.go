package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/urfave/cli/v2"
)

// maxResources bounds the file of update --resources, in bytes.
const maxResources = 1 << 20

// newResources is what --resources holds or what the flags of update ask for.
func newResources(c *cli.Context) (*specs.LinuxResources, error) {
	switch path := c.String("resources"); path {
	case "":
		return flagResources(c)
	case "-":
		return readResources(os.Stdin)
	default:
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		r, err := readResources(f)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return r, nil
	}
}

func readResources(in io.Reader) (*specs.LinuxResources, error) {
	var r specs.LinuxResources
	err := json.NewDecoder(io.LimitReader(in, maxResources)).Decode(&r)
	if errors.Is(err, io.EOF) {
		return nil, errors.New("empty file")
	}
	if err != nil {
		return nil, err
	}
	return &r, nil
}

func flagResources(c *cli.Context) (*specs.LinuxResources, error) {
	cpu := &specs.LinuxCPU{Cpus: c.String("cpuset-cpus"), Mems: c.String("cpuset-mems")}
	memory, block, pids := &specs.LinuxMemory{}, &specs.LinuxBlockIO{}, &specs.LinuxPids{}
	if c.IsSet("pids-limit") {
		n := c.Int64("pids-limit")
		pids.Limit = &n
	}
	if w := c.Int("blkio-weight"); w != 0 {
		if w < 0 || w > math.MaxUint16 {
			return nil, fmt.Errorf("invalid value for blkio-weight: %d is not from 10 to 1000", w)
		}
		weight := uint16(w)
		block.Weight = &weight
	}
	unsigned := func(s string) (uint64, error) { return strconv.ParseUint(s, 10, 64) }
	signed := func(s string) (int64, error) { return strconv.ParseInt(s, 10, 64) }
	f := flagReader{c: c}
	read(&f, "cpu-burst", &cpu.Burst, unsigned)
	read(&f, "cpu-period", &cpu.Period, unsigned)
	read(&f, "cpu-rt-period", &cpu.RealtimePeriod, unsigned)
	read(&f, "cpu-share", &cpu.Shares, unsigned)
	read(&f, "cpu-quota", &cpu.Quota, signed)
	read(&f, "cpu-rt-runtime", &cpu.RealtimeRuntime, signed)
	read(&f, "cpu-idle", &cpu.Idle, signed)
	read(&f, "memory", &memory.Limit, parseBytes)
	read(&f, "memory-swap", &memory.Swap, parseBytes)
	read(&f, "memory-reservation", &memory.Reservation, parseBytes)
	return &specs.LinuxResources{CPU: cpu, Memory: memory, BlockIO: block, Pids: pids}, f.err
}

// flagReader keeps the first error of several flags.
type flagReader struct {
	c   *cli.Context
	err error
}

// read leaves *to nil for a flag that is not set: nil and 0 are not the same.
func read[T any](f *flagReader, name string, to **T, parse func(string) (T, error)) {
	s := f.c.String(name)
	if s == "" || f.err != nil {
		return
	}
	v, err := parse(s)
	if err != nil {
		f.err = fmt.Errorf("invalid value for %s: %w", name, err)
		return
	}
	*to = &v
}

// parseBytes reads a size as Docker's tools write it: 1024, 1.5g, 64 MiB; the
// units are powers of 1024. -1 is "no limit".
func parseBytes(s string) (int64, error) {
	if s == "-1" {
		return -1, nil
	}
	fault := fmt.Errorf("invalid size: %q", s)
	end := strings.LastIndexAny(s, "0123456789.") + 1
	number, unit := s[:end], strings.ToLower(strings.TrimPrefix(s[end:], " "))
	shift := 0
	if unit != "" && unit != "b" {
		exponent := strings.IndexByte("kmgtp", unit[0])
		if rest := unit[1:]; exponent < 0 || rest != "" && rest != "b" && rest != "ib" {
			return 0, fault
		}
		shift = 10 * (exponent + 1)
	}
	if strings.Trim(number, "0123456789.") != "" {
		return 0, fault // ParseFloat takes more: 1e9, 0x10, Inf
	}
	v, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return 0, fault
	}
	if v *= math.Exp2(float64(shift)); v >= math.MaxInt64 {
		return 0, fault
	}
	return int64(v), nil
}
