package acceltest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/runw/runw/pkg/accel"
	"golang.org/x/sys/unix"
)

// Backend is for one encoding. A model is a text: "echo", or what goes wrong with
// it: "broken", "crash". Its contexts do what input 0 says:
//
//	crash        the process is killed
//	hang         compute does not end, whatever the deadline
//	slow         compute ends at the deadline
//	full, long   ErrContextFull, ErrPromptTooLong
//	fail         an error without a code
//	grow N       output 0 has N bytes
//	log N        N lines of log
//	lines        a log with control characters
//	other        output 0 is input 0, and compute_single gives its bytes one by one
//
// Output 1 is the model's configuration, output 2 describes input 0: type,
// dimensions, length and sum of bytes; output 3 is all inputs, one after another.
// An input that begins with "refuse" is refused.
type Backend struct {
	For accel.Encoding
	Log func(line string)
}

// Name is "test".
func (b *Backend) Name() string { return "test" }

// Encoding is the one it was made for.
func (b *Backend) Encoding() accel.Encoding { return b.For }

// Version is that of no library.
func (b *Backend) Version() string { return "0" }

// Devices has the CPU.
func (b *Backend) Devices() ([]accel.Device, error) {
	return []accel.Device{{Backend: "test", Name: "CPU"}}, nil
}

// Load reads the model by its path, as libraries do.
func (b *Backend) Load(_ context.Context, m accel.Model) (accel.Graph, error) {
	if len(m.Files) != 1 {
		return nil, fmt.Errorf("%w: %d files", accel.ErrInvalidArgument, len(m.Files))
	}
	f, err := os.Open("/proc/self/fd/" + strconv.Itoa(int(m.Files[0].Fd())))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	switch word, _, _ := strings.Cut(string(text), "\n"); word {
	case "echo":
		return &graph{backend: b, config: m.Config, target: m.Target}, nil
	case "crash":
		die()
	}
	return nil, fmt.Errorf("%w: the model is no text that I know", accel.ErrInvalidEncoding)
}

func die() {
	_ = unix.Kill(unix.Getpid(), unix.SIGKILL)
	select {}
}

type graph struct {
	backend *Backend
	config  []byte
	target  accel.Target
}

func (g *graph) NewContext() (accel.Context, error) {
	return &inference{graph: g, inputs: map[uint32][]byte{}}, nil
}

func (g *graph) Close() {}

type inference struct {
	graph    *graph
	inputs   map[uint32][]byte
	about    string
	out      []byte
	step     int
	computed bool
}

func (c *inference) SetInput(index uint32, t accel.Tensor) error {
	if index > 7 {
		return fmt.Errorf("%w: input %d", accel.ErrInvalidArgument, index)
	}
	data := bytes.Clone(t.Data)
	if bytes.HasPrefix(data, []byte("refuse")) {
		return fmt.Errorf("%w: input %d asks for it", accel.ErrInvalidArgument, index)
	}
	c.inputs[index] = data
	if index == 0 {
		sum := 0
		for _, v := range data {
			sum += int(v)
		}
		c.about = fmt.Sprint(t.Type, t.Dims, len(data), sum)
	}
	return nil
}

func (c *inference) Compute(ctx context.Context) error {
	word, n, _ := strings.Cut(string(c.inputs[0]), " ")
	number, _ := strconv.Atoi(n)
	switch word {
	case "crash":
		die()
	case "hang":
		for {
			time.Sleep(time.Hour)
		}
	case "slow":
		<-ctx.Done()
		return fmt.Errorf("%w: %w", accel.ErrRuntime, ctx.Err())
	case "full":
		return accel.ErrContextFull
	case "long":
		return accel.ErrPromptTooLong
	case "fail":
		return errors.New("no reason")
	case "log":
		for i := range number {
			c.graph.backend.Log("line " + strconv.Itoa(i))
		}
	case "lines":
		c.graph.backend.Log("red \x1b[31m and \x00 two\nlines")
	}
	c.computed = true
	if c.out = c.inputs[0]; word == "grow" {
		c.out = make([]byte, number)
		for i := range c.out {
			c.out[i] = byte(i)
		}
	}
	return nil
}

func (c *inference) Output(index uint32) ([]byte, error) {
	switch {
	case !c.computed:
		return nil, fmt.Errorf("%w: nothing computed yet", accel.ErrRuntime)
	case index == 0:
		return c.out, nil
	case index == 1:
		return c.graph.config, nil
	case index == 2:
		return []byte(c.about + " " + strconv.Itoa(int(c.graph.target))), nil
	case index == 3:
		var all []byte
		for i := range uint32(8) {
			all = append(all, c.inputs[i]...)
		}
		return all, nil
	}
	return nil, fmt.Errorf("%w: output %d", accel.ErrInvalidArgument, index)
}

func (c *inference) ComputeSingle(context.Context) error {
	if c.step == len(c.inputs[0]) {
		c.step = 0
		return accel.ErrEndOfSequence
	}
	c.step++
	return nil
}

func (c *inference) OutputSingle(index uint32) ([]byte, error) {
	if c.step == 0 || index != 0 {
		return nil, fmt.Errorf("%w: step %d, output %d", accel.ErrInvalidArgument, c.step, index)
	}
	return c.inputs[0][c.step-1 : c.step], nil
}

func (c *inference) FinishSingle() error {
	c.step = 0
	return nil
}

func (c *inference) Close() {}
