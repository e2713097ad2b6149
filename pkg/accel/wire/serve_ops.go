package wire

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"strconv"

	"github.com/runw/runw/pkg/accel"
	"golang.org/x/sys/unix"
)

// graph is a loaded model. It stays until it is unloaded and its last context is
// closed.
type graph struct {
	accel.Graph
	contexts int
	unloaded bool
	// bytes is what counts of it for Limits.Bytes.
	bytes uint64
}

// inference is a context and what its inputs count for Limits.Bytes.
type inference struct {
	accel.Context
	graph  *graph
	inputs map[uint32]uint64
}

// perInput is what an input counts beside its data, so that empty ones at
// countless indices count too.
const perInput = 64

// claim takes a number that was never used before.
func (s *server) claim(number uint32) error {
	if number <= s.last {
		return fmt.Errorf("%w: number %d is not new", accel.ErrInvalidArgument, number)
	}
	s.last = number
	return nil
}

// hold counts n bytes more, if they are within the limit.
func (s *server) hold(n uint64) error {
	if n > s.a.Limits.Bytes || s.held > s.a.Limits.Bytes-n {
		return fmt.Errorf("%w: %d bytes beside the %d that are held, more than the %d that are allowed (run.runw.nn-limits: bytes)",
			accel.ErrTooLarge, n, s.held, s.a.Limits.Bytes)
	}
	s.held += n
	return nil
}

func (s *server) load(ctx context.Context, r *request, fds []int) (err error) {
	files := make([]*os.File, len(fds))
	for i, fd := range fds {
		files[i] = os.NewFile(uintptr(fd), "model")
		defer files[i].Close()
	}
	if err := s.claim(r.handle); err != nil {
		return err
	}
	if s.loaded >= s.a.Limits.Graphs {
		return fmt.Errorf("%w: %d graphs are loaded, as many as are allowed (run.runw.nn-limits: graphs)", accel.ErrTooLarge, s.loaded)
	}
	bytes, err := ownBytes(fds)
	if err != nil {
		return err
	}
	target := accel.Target(r.b)
	switch {
	case target == accel.TargetTPU:
		return fmt.Errorf("%w: no backend has a TPU", accel.ErrUnsupportedOperation)
	case target > accel.TargetAuto:
		return fmt.Errorf("%w: target %d", accel.ErrInvalidArgument, r.b)
	}
	b, err := s.backend(accel.Encoding(r.a))
	if err != nil {
		return err
	}
	if err := s.hold(bytes); err != nil {
		return err
	}
	m := accel.Model{Files: files, Target: target}
	if r.n > 0 {
		m.Config = append([]byte(nil), s.mem[dataOffset:dataOffset+r.n]...)
	}
	g, err := b.Load(ctx, m)
	if err != nil {
		s.held -= bytes
		return fmt.Errorf("%s: %w", b.Name(), err)
	}
	s.graphs[r.handle] = &graph{Graph: g, bytes: bytes}
	s.loaded++
	return nil
}

// backend opens the one for an encoding on its first use: most guests need one
// library of several.
func (s *server) backend(e accel.Encoding) (accel.Backend, error) {
	if b, ok := s.open[e]; ok {
		return b, nil
	}
	for _, known := range s.a.Backends {
		if known.Encoding != e {
			continue
		}
		b, err := known.Open(s.lines.log)
		if err == nil {
			s.open[e] = b
		}
		return b, err
	}
	return nil, fmt.Errorf("%w: no backend for encoding %d", accel.ErrInvalidEncoding, uint32(e))
}

// ownBytes checks the files of a model and gives the size of those that are no
// files but memory of the guest's: what the engine has sealed against writing.
func ownBytes(fds []int) (bytes uint64, err error) {
	for _, fd := range fds {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return 0, fmt.Errorf("model: %w", err)
		}
		if st.Mode&unix.S_IFMT != unix.S_IFREG {
			return 0, fmt.Errorf("%w: the model is no regular file", accel.ErrInvalidArgument)
		}
		// Files that cannot be sealed answer EINVAL.
		seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
		if err == nil && seals&unix.F_SEAL_WRITE != 0 {
			bytes += uint64(max(st.Size, 0))
		}
	}
	return bytes, nil
}

func (s *server) unload(number uint32) error {
	g, ok := s.graphs[number]
	if !ok {
		return fmt.Errorf("%w: graph %d", accel.ErrInvalidArgument, number)
	}
	delete(s.graphs, number)
	s.loaded--
	g.unloaded = true
	g.Close()
	s.settle(g)
	return nil
}

// settle no longer counts a graph that nobody can use.
func (s *server) settle(g *graph) {
	if g.unloaded && g.contexts == 0 {
		s.held -= g.bytes
	}
}

func (s *server) newContext(of, number uint32) error {
	if err := s.claim(number); err != nil {
		return err
	}
	g, ok := s.graphs[of]
	if !ok {
		return fmt.Errorf("%w: graph %d", accel.ErrInvalidArgument, of)
	}
	if len(s.contexts) >= s.a.Limits.Contexts {
		return fmt.Errorf("%w: there are %d contexts, as many as are allowed (run.runw.nn-limits: contexts)", accel.ErrTooLarge, len(s.contexts))
	}
	c, err := g.NewContext()
	if err != nil {
		return err
	}
	g.contexts++
	s.contexts[number] = &inference{Context: c, graph: g, inputs: map[uint32]uint64{}}
	return nil
}

func (s *server) closeContext(number uint32, c *inference) {
	delete(s.contexts, number)
	c.Context.Close()
	for _, n := range c.inputs {
		s.held -= n
	}
	c.graph.contexts--
	s.settle(c.graph)
}

func (s *server) setInput(c *inference, r *request) error {
	if r.b > uint32(accel.I64) {
		return fmt.Errorf("%w: tensor type %d", accel.ErrInvalidArgument, r.b)
	}
	// What was there before is replaced.
	before, after := c.inputs[r.a], r.n+perInput
	s.held -= before
	if err := s.hold(after); err != nil {
		s.held += before
		return err
	}
	t := accel.Tensor{
		Type: accel.TensorType(r.b),
		Dims: decodeDims(s.mem[r.at.dims:], r.c),
		Data: s.mem[r.at.data : r.at.data+r.n : r.at.data+r.n],
	}
	if err := c.SetInput(r.a, t); err != nil {
		s.held += before - after
		return err
	}
	c.inputs[r.a] = after
	return nil
}

// decodeDims reads n dimensions.
func decodeDims(b []byte, n uint32) []uint32 {
	dims := make([]uint32, n)
	for i := range dims {
		dims[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	return dims
}

// compute refuses a context whose graph is gone, so that no backend needs to. If
// the request wants an output it gives its length plus one; why there is none,
// the guest hears when it asks for it itself.
func (s *server) compute(ctx context.Context, c *inference, r *request, work func(context.Context) error, get func(uint32) ([]byte, error)) (uint64, error) {
	if c.graph.unloaded {
		return 0, fmt.Errorf("%w: the graph is unloaded", accel.ErrRuntime)
	}
	if err := work(ctx); err != nil || r.c == 0 {
		return 0, err
	}
	if n, err := s.output(r, get); err == nil {
		return n + 1, nil
	}
	return 0, nil
}

func (s *server) output(r *request, get func(index uint32) ([]byte, error)) (uint64, error) {
	out, err := get(r.a)
	if err != nil {
		return 0, err
	}
	n := uint64(len(out))
	switch {
	case n > s.a.Limits.Bytes || n > uint64(len(s.mem)-dataOffset):
		return 0, fmt.Errorf("%w: an output of %d bytes, more than the %d that are allowed (run.runw.nn-limits: bytes)", accel.ErrTooLarge, n, s.a.Limits.Bytes)
	case n > r.n:
		return n, fmt.Errorf("%w: output %s has %d bytes", accel.ErrTooLarge, strconv.FormatUint(uint64(r.a), 10), n)
	}
	copy(s.mem[dataOffset:], out)
	return n, nil
}

// close frees contexts before graphs.
func (s *server) close() {
	for number, c := range s.contexts {
		s.closeContext(number, c)
	}
	for number := range s.graphs {
		_ = s.unload(number)
	}
	_ = unix.Munmap(s.mem)
}
