package wire

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Limits is what one container may have in its worker at a time.
type Limits struct {
	// Graphs and Contexts count what is loaded and not freed.
	Graphs, Contexts int
	// Bytes bounds what the guest has handed over, models that came as bytes
	// and inputs together, and each output. Models that are files do not count.
	Bytes uint64
	// Time bounds a single call. A worker that does not end one in time, and
	// not soon after either, ends itself.
	Time time.Duration
}

// ErrLimits is wrapped by the errors of ParseLimits.
var ErrLimits = errors.New("bad limits for wasi-nn")

// DefaultLimits are those of a container that asks for none.
func DefaultLimits() Limits {
	return Limits{Graphs: 8, Contexts: 32, Bytes: 1 << 30, Time: 10 * time.Minute}
}

const (
	maxGraphs   = 1 << 10
	maxContexts = 1 << 14
	minBytes    = 4 << 10
	maxBytes    = maxSegment - dataOffset
	maxTime     = 24 * time.Hour
)

// ParseLimits reads "graphs=8,contexts=32,bytes=1GiB,time=10m"; what is left out
// keeps its default. bytes takes KiB, MiB and GiB, time what Go's durations do.
func ParseLimits(s string) (Limits, error) {
	l := DefaultLimits()
	if s == "" {
		return l, nil
	}
	seen := map[string]bool{}
	for entry := range strings.SplitSeq(s, ",") {
		key, value, ok := strings.Cut(strings.TrimSpace(entry), "=")
		if !ok {
			return l, fmt.Errorf("%w: %q: want KEY=VALUE", ErrLimits, entry)
		}
		if seen[key] {
			return l, fmt.Errorf("%w: %s is given twice", ErrLimits, key)
		}
		seen[key] = true
		if err := l.set(key, value); err != nil {
			return l, fmt.Errorf("%w: %s=%q: %w", ErrLimits, key, value, err)
		}
	}
	return l, nil
}

func (l *Limits) set(key, value string) error {
	var err error
	switch key {
	case "graphs":
		l.Graphs, err = count(value, maxGraphs)
	case "contexts":
		l.Contexts, err = count(value, maxContexts)
	case "bytes":
		l.Bytes, err = size(value)
	case "time":
		l.Time, err = time.ParseDuration(value)
		if err == nil && (l.Time < time.Millisecond || l.Time > maxTime) {
			err = fmt.Errorf("is not between 1ms and %s", maxTime)
		}
	default:
		err = errors.New("unknown; there are graphs, contexts, bytes and time")
	}
	return err
}

func count(value string, most int) (int, error) {
	n, err := strconv.ParseUint(value, 10, 31)
	switch {
	case err != nil:
		return 0, errors.New("is no number")
	case n == 0 || n > uint64(most):
		return 0, fmt.Errorf("is not between 1 and %d", most)
	}
	return int(n), nil
}

func size(value string) (uint64, error) {
	digits, shift := value, 0
	for i, unit := range [...]string{"KiB", "MiB", "GiB"} {
		if d, ok := strings.CutSuffix(value, unit); ok {
			digits, shift = d, 10*(i+1)
		}
	}
	n, err := strconv.ParseUint(digits, 10, 33)
	switch {
	case err != nil:
		return 0, errors.New("is no number of bytes, KiB, MiB or GiB")
	case n > maxBytes>>shift || n<<shift < minBytes:
		return 0, fmt.Errorf("is not between %d and %d bytes", minBytes, uint64(maxBytes))
	}
	return n << shift, nil
}

// String is the form that ParseLimits reads.
func (l Limits) String() string {
	return fmt.Sprintf("graphs=%d,contexts=%d,bytes=%d,time=%s", l.Graphs, l.Contexts, l.Bytes, l.Time)
}
