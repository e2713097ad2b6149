package wire

import (
	"testing"

	"golang.org/x/sys/unix"
)

// SegmentBlocks is how much memory the segment has, in units of 512 bytes.
func (c *Client) SegmentBlocks(t *testing.T) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(c.worker.segment, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks
}

// MaxKnown bounds KnownInputs.
const MaxKnown = maxKnown

// KnownInputs is how many inputs the Client knows the shape of.
func (c *Client) KnownInputs() int { return len(c.inputs.known) }

// Hears says that the worker has not hung up yet.
func (c *Client) Hears() bool { return c.worker.conn >= 0 && !hungUp(c.worker.conn) }
