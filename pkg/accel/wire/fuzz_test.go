package wire

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/runw/runw/pkg/accel"
	"golang.org/x/sys/unix"
)

// FuzzRequest: what the worker's decoder accepts is what encode makes.
func FuzzRequest(f *testing.F) {
	for o := opLoad; o <= opWorker; o++ {
		b := (&request{op: o, seq: 1}).encode()
		f.Add(b[:], uint64(1<<20))
	}
	b := (&request{op: opSetInput, handle: 1, a: 2, b: 3, c: 4, n: 5}).encode()
	f.Add(b[:], uint64(4))
	f.Add(message(request{op: opSetInput, handle: 1, c: 64, n: 100}, request{op: opSetInput, handle: 1, a: 1, n: 3}, request{op: opCompute, handle: 1}), uint64(131))
	f.Add(message(slices.Repeat([]request{{op: opSetInput, handle: 1, c: 1}}, maxInputs+1)...), uint64(1<<20))
	f.Fuzz(func(t *testing.T, b []byte, room uint64) {
		room %= maxSegment // no segment is larger
		list, err := decodeMessage(nil, b, room)
		if err != nil {
			return
		}
		if again := message(list...); !slices.Equal(again, b) {
			t.Fatalf("%x is %+v, which is %x", b, list, again)
		}
		for _, r := range list {
			if r.op == opSetInput && (r.at.data+r.n > dataOffset+room || r.at.dims+4*uint64(r.c) > dataOffset) {
				t.Fatalf("%+v in a segment of %d bytes", r, room)
			}
		}
	})
}

// FuzzReply: what the engine's decoder accepts is what encode makes.
func FuzzReply(f *testing.F) {
	f.Add((&reply{seq: 1, errno: accel.ErrEndOfSequence, value: 3, text: []byte("a\nb")}).encode())
	f.Add((&reply{ending: true}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeReply(b)
		if err != nil {
			return
		}
		if again := r.encode(); !slices.Equal(again, b) {
			t.Fatalf("%x is %+v, which is %x", b, r, again)
		}
	})
}

// plain is a backend that keeps what it gets and gives it back.
type plain struct {
	accel.Backend
	model []byte
	in    map[uint32][]byte
}

func (p *plain) Name() string { return "plain" }

func (p *plain) Load(_ context.Context, m accel.Model) (accel.Graph, error) {
	if len(m.Config) > 0 && m.Config[0] == '!' {
		return nil, errors.New(string(m.Config))
	}
	return &plain{model: m.Config}, nil
}

func (p *plain) NewContext() (accel.Context, error) {
	return &plainContext{plain{model: p.model, in: map[uint32][]byte{}}}, nil
}

func (p *plain) Close() {}

type plainContext struct{ plain }

func (p *plainContext) SetInput(index uint32, t accel.Tensor) error {
	p.in[index] = fmt.Append(slices.Clone(t.Data), t.Dims)
	return nil
}
func (p *plainContext) Compute(context.Context) error { return nil }
func (p *plainContext) Output(index uint32) ([]byte, error) {
	out, ok := p.in[index]
	if !ok {
		return p.model, accel.ErrInvalidArgument
	}
	return out, nil
}
func (p *plainContext) ComputeSingle(context.Context) error       { return accel.ErrEndOfSequence }
func (p *plainContext) OutputSingle(index uint32) ([]byte, error) { return p.Output(index) }
func (p *plainContext) FinishSingle() error                       { return errors.New("never") }

// pair is a connection that the test closes.
func pair(t *testing.T) (a, b int) {
	t.Helper()
	a, b, err := Socketpair()
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

func testSegment(t *testing.T) (int, []byte) {
	t.Helper()
	fd, err := newSegment(1 << 16)
	if err != nil {
		t.Fatal(err)
	}
	mem, err := mapSegment(fd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.Close(fd)
		unix.Munmap(mem)
	})
	return fd, mem
}

// FuzzServe is an engine that sends anything: most of it well-formed requests of
// hostile numbers, some of it bytes. The worker answers or leaves, and keeps no
// descriptor.
func FuzzServe(f *testing.F) {
	// op, how many files, handle, a, b, c, n.
	f.Add([]byte{1, 1, 1, 6, 0, 0, 0, 3, 0, 1, 2, 0, 0, 0, 4, 0, 2, 0, 3, 2, 9, 5, 0, 2, 0, 0, 0, 0, 6, 0, 2, 0, 0, 0, 200, 10, 0, 2, 0, 0, 0, 0, 2, 0, 1, 0, 0, 0, 0})
	f.Add([]byte{1, 1, 1, 6, 0, 0, 10, 1, 1, 1, 6, 0, 0, 10})
	f.Add([]byte{1, 1, 1, 6, 4, 0, 10, 1, 5, 2, 6, 3, 0, 10})
	f.Add([]byte{255, 0, 1, 2, 3, 4, 5})
	// Two inputs and compute in one message.
	f.Add([]byte{1, 1, 1, 6, 0, 0, 0, 3, 0, 1, 2, 0, 0, 0, 4, 128, 2, 0, 1, 2, 9, 4, 128, 2, 1, 1, 1, 200, 5, 0, 2, 0, 0, 1, 200})
	f.Fuzz(func(t *testing.T, input []byte) {
		before := openFDs(t)
		func() {
			engine, conn := pair(t)
			segment, mem := testSegment(t)
			for i := range 256 {
				mem[i], mem[dataOffset+i] = byte(i*7), byte(i)
			}
			done := make(chan error, 1)
			go func() {
				done <- Serve(ServeArgs{
					Conn: conn, Segment: segment, Limits: Limits{Graphs: 2, Contexts: 3, Bytes: 1 << 12, Time: time.Minute},
					Backends: []Backend{{Encoding: accel.EncodingGGML, Open: func(func(string)) (accel.Backend, error) { return &plain{}, nil }}},
					Exit:     func() {},
				})
				unix.Shutdown(conn, unix.SHUT_RDWR)
			}()
			playRequests(t, engine, input)
			unix.Shutdown(engine, unix.SHUT_WR)
			if err := <-done; err != nil && !errors.Is(err, ErrProtocol) && !errors.Is(err, unix.EPIPE) {
				t.Error(err)
			}
			closeAll([]int{engine, conn})
		}()
		// The segment's descriptor is closed by the test's end.
		if after := openFDs(t); after != before+1 {
			t.Errorf("%d descriptors before, %d after", before, after)
		}
	})
}

// playRequests reads a request from each seven bytes; one whose second byte is
// 128 or more is sent with the next.
func playRequests(t *testing.T, engine int, input []byte) {
	file, err := os.Open("fuzz_test.go")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	buf := make([]byte, maxReply)
	var held []byte
	for seq := uint32(1); len(input) >= 7; seq++ {
		v := input[:7]
		input = input[7:]
		r := request{op: op(v[0]), seq: seq, handle: number(v[2]), a: number(v[3]), b: number(v[4]), c: number(v[5]), n: uint64(number(v[6]))}
		b := r.encode()
		message := append(held, b[:]...)
		if held = nil; v[1] >= 128 && len(message) <= maxMessage {
			held = message
			continue
		}
		if v[0] >= 200 {
			message = input[:min(len(input), int(v[0]))]
		}
		var files []int
		for range v[1] % 8 {
			files = append(files, int(file.Fd()))
		}
		if err := send(engine, message, files...); err != nil {
			return
		}
		n, _, err := receive(engine, buf, 0)
		if err != nil {
			return
		}
		if a, err := decodeReply(buf[:n]); err != nil || a.seq != seq {
			t.Errorf("%+v is answered by %+v, %v", r, a, err)
		}
	}
}

// number spreads a byte over small numbers and edges.
func number(b byte) uint32 {
	if b < 224 {
		return uint32(b)
	}
	return []uint32{1 << 10, 1 << 12, 1<<16 - 1, 1 << 16, 1 << 20, 1 << 31, 1<<32 - 1, 256}[b%8]
}

func openFDs(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// FuzzClient is a supervisor and a worker that answer anything. The client gives
// the guest a code and never more bytes than there is room for.
func FuzzClient(f *testing.F) {
	answers := func(list ...reply) (b []byte) {
		for i := range list {
			list[i].seq = uint32(i + 1)
			m := list[i].encode()
			b = binary.LittleEndian.AppendUint16(b, uint16(len(m)))
			b = append(b, m...)
		}
		return b
	}
	f.Add(answers(reply{}, reply{}, reply{}, reply{}, reply{}, reply{value: 3}, reply{}, reply{value: 70000}, reply{}), byte(2))
	f.Add(answers(reply{}, reply{}, reply{}, reply{}, reply{}, reply{value: 3}, reply{value: 4}, reply{}), byte(2))
	f.Add(answers(reply{}, reply{}, reply{}, reply{}, reply{}, reply{value: 3}, reply{value: 66}, reply{}), byte(2))
	f.Add(answers(reply{}, reply{}, reply{errno: accel.ErrTooLarge, value: 1 << 40}, reply{ending: true}), byte(2))
	f.Add(answers(reply{errno: accel.ErrRuntime, text: []byte("no\nworker\x1b")}), byte(0))
	f.Add(answers(reply{}, reply{}, reply{}), byte(1))
	f.Fuzz(func(t *testing.T, input []byte, files byte) {
		engine, supervisor := pair(t)
		conn, worker := pair(t)
		segment, mem := testSegment(t)
		fds := []int{conn, segment, segment}[:files%4%3]
		// All answers wait in the sockets, the first in the supervisor's.
		for first := true; len(input) >= 2; first = false {
			n := min(int(binary.LittleEndian.Uint16(input)), len(input)-2)
			m := input[2 : 2+n]
			input = input[2+n:]
			to, with := worker, []int(nil)
			if first {
				to, with = supervisor, fds
			}
			if unix.SetNonblock(to, true) != nil || send(to, m, with...) != nil {
				break
			}
		}
		closeAll([]int{supervisor, worker, conn})
		c := NewClient(engine, func(line string) {
			for _, r := range line {
				if r < ' ' && r != '\t' {
					t.Errorf("line %q", line)
				}
			}
		})
		defer c.Close()
		copy(mem[dataOffset:], "abcdef")
		to := make([]byte, 64)
		for range 3 {
			g, errno := c.Load([]int{segment}, []byte("{}"), accel.EncodingGGML, accel.TargetCPU)
			if errno == 0 && !knownNumber(c, g) {
				t.Errorf("graph %d of %d to %d", g, c.floor, c.next)
			}
			ctx, _ := c.NewContext(g)
			c.SetInput(ctx, 0, accel.U8, make([]byte, 8), []byte("x"))
			for range 2 { // the second time the output comes with the answer, the inputs wait for it
				c.SetInput(ctx, 1, accel.F32, make([]byte, 8), []byte("1234"))
				c.SetInput(ctx, 2, accel.F32, make([]byte, 8), []byte("1234"))
				c.Compute(ctx)
				if n, errno := c.Output(ctx, 0, to); errno == 0 && int(n) > len(to) {
					t.Errorf("%d bytes of output", n)
				}
			}
			c.CloseContext(ctx)
			c.Unload(g)
		}
	})
}

func knownNumber(c *Client, n uint32) bool { return n >= c.floor && n < c.next }
