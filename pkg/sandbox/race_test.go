//go:build race

package sandbox

// underRace tells that the race detector answers for the allocator.
const underRace = true
