package main

import (
	"bytes"
	"os"
	"strconv"
)

// engineReserve is what the engine may still need besides what it has: stacks,
// the heap of a directory listing, page tables.
const engineReserve = 4 << 20

// guestMemory is how much of the container's memory limit the guest's linear
// memory may take, so that a memory.grow that does not fit is refused instead
// of ending in an OOM kill. It is to be called when the engine has loaded all
// it needs. 0 means no limit.
func guestMemory(limit uint64) uint64 {
	if limit == 0 {
		return 0
	}
	used := anonymousMemory() + engineReserve
	if used >= limit {
		return 1 // nothing is left; 0 would mean no limit
	}
	return limit - used
}

// anonymousMemory is the RssAnon of this process in bytes, 0 where /proc does
// not tell.
func anonymousMemory() uint64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(status) {
		value, ok := bytes.CutPrefix(line, []byte("RssAnon:"))
		if !ok {
			continue
		}
		kb, err := strconv.ParseUint(string(bytes.TrimSpace(bytes.TrimSuffix(bytes.TrimSpace(value), []byte("kB")))), 10, 64)
		if err != nil {
			return 0
		}
		return kb << 10
	}
	return 0
}
