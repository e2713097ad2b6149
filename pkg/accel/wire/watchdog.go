package wire

import (
	"context"
	"sync"
	"time"
)

// grace is how long after its time a call may still end by itself.
const grace = 2 * time.Second

// watchdog ends calls that take too long. It has one timer, which runs on from one
// call to the next: arming one wakes a thread of Go's, and a short call would
// have two for each.
type watchdog struct {
	limit time.Duration
	// late is called at the end of a call's grace, at most once for each.
	late func(*call)

	mu      sync.Mutex
	timer   *time.Timer
	running bool
	current *call
}

// call is the context of one, whose deadline the watchdog keeps.
type call struct {
	context.Context
	request *request
	cancel  context.CancelCauseFunc
	end     time.Time
}

// Err tells a deadline from an end.
func (c *call) Err() error {
	if c.Context.Err() == nil {
		return nil
	}
	return context.Cause(c.Context)
}

// Deadline is when Err begins to tell one.
func (c *call) Deadline() (time.Time, bool) { return c.end, true }

func newWatchdog(limit time.Duration, late func(*call)) *watchdog {
	w := &watchdog{limit: limit, late: late}
	w.timer = time.AfterFunc(limit, w.look)
	w.timer.Stop()
	return w
}

// begin starts the time of a call.
func (w *watchdog) begin(r *request) *call {
	c := &call{request: r, end: time.Now().Add(w.limit)}
	c.Context, c.cancel = context.WithCancelCause(context.Background())
	w.mu.Lock()
	defer w.mu.Unlock()
	w.current = c
	if !w.running {
		w.running = true
		w.timer.Reset(w.limit)
	}
	return c
}

// finish is false for a call that is late: its answer is the watchdog's.
func (w *watchdog) finish(c *call) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.current != c {
		return false
	}
	w.current = nil
	c.cancel(context.Canceled)
	return true
}

// look is the timer's.
func (w *watchdog) look() {
	if c := w.overdue(); c != nil {
		w.late(c)
	}
}

func (w *watchdog) overdue() *call {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running = false
	c := w.current
	if c == nil {
		return nil
	}
	left := time.Until(c.end)
	if left <= 0 {
		c.cancel(context.DeadlineExceeded)
		left += grace
	}
	if left <= 0 {
		w.current = nil
		return c
	}
	w.running = true
	w.timer.Reset(left)
	return nil
}
