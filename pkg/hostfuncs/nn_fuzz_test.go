package hostfuncs

import (
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/runw/runw/pkg/accel"
	"github.com/runw/runw/pkg/hostfuncs/abi"
	"golang.org/x/sys/unix"
)

// The places in memory that a guest of FuzzInference begins with.
const (
	fuzzBuilders = 512 // each four builders, of which the first is of some use
	fuzzBad      = 576
	fuzzTensor   = 640
	fuzzTensors  = 680
	fuzzOut      = 720
	fuzzBuffer   = 8192
)

var nnNumbers = []uint64{
	fuzzBuilders, fuzzBuilders + 16, fuzzBad, fuzzTensor, fuzzTensors, fuzzOut, fuzzBuffer, 64, 4096,
	guestMemory - 1, guestMemory - 4, guestMemory - 20, guestMemory, 1 << 31, math.MaxUint32, math.MaxUint32 - 7, math.MaxInt32,
}

// nnMemory lays out builders and tensors, and the names and inputs in strs.
func nnMemory(mem abi.Memory) (strs [][2]uint64) {
	top := uint32(1024)
	put := func(s string) uint32 {
		strs = append(strs, [2]uint64{uint64(top), uint64(len(s))})
		at := top
		top += uint32(copy(mem[top:], s)) + 4
		return at
	}
	record := func(at uint32, words ...uint32) {
		for i, v := range words {
			mem.PutUint32(at+4*uint32(i), v)
		}
	}
	m, p, c := put("echo"), put("preload:/echo"), put(`{"a":1}`)
	record(fuzzBuilders, m, 4, c, 7, p, 13, c, 7)
	secret := put("preload:/../outside/secret")
	record(fuzzBad, secret, 26, m, math.MaxUint32, math.MaxUint32, 2, guestMemory-1, 1)
	for _, s := range []string{"default", "gone", "", "grow 100000", "log 50", "full", "fail", "preload:", "\x00"} {
		put(s)
	}
	record(fuzzTensor, fuzzOut, 1, uint32(accel.U8)|0xffffff00, m, 4)
	record(fuzzTensors, guestMemory-8, 1<<30, 9, math.MaxUint32, math.MaxUint32)
	return strs
}

func (p *program) nnArgs(letters string, strs [][2]uint64) []uint64 {
	return p.mixed(letters, strs, nnNumbers[:], mix{small: 100, below: 12, edges: 200, strings: 245})
}

// FuzzInference plays guests that call wasi_ephemeral_nn with anything. Nothing
// panics, nothing is written outside of the guest's memory, nothing outside of its
// directory is read, and no descriptor is left over.
func FuzzInference(f *testing.F) {
	names := make([]string, 0, len(nnFunctions)+1)
	for _, fn := range nnFunctions {
		names = append(names, fn.name)
	}
	names = append(names, "unknown")
	index := func(name string) byte { return byte(slices.Index(names, name)) }
	at := func(v uint64) byte {
		for b := byte(100); b < 200; b++ {
			if nnNumbers[int(b)%len(nnNumbers)] == v {
				return b
			}
		}
		panic("no such number")
	}
	builders, tensor, out, buffer := at(fuzzBuilders), at(fuzzTensor), at(fuzzOut), at(fuzzBuffer)
	f.Add([]byte{index("load"), builders, 2, 6, 0, out, index("init_execution_context"), 1, out,
		index("set_input"), 2, 0, tensor, index("compute"), 2, index("get_output"), 2, 0, buffer, 64, out,
		index("compute_single"), 2, index("get_output_single"), 2, 0, buffer, 64, out, index("fini_single"), 2,
		index("unload"), 1, index("compute"), 2, index("finalize_execution_context"), 2})
	f.Add([]byte{index("load_by_name"), 200, 4, out, index("load_by_name_with_config"), 200, 4, 200, 2, out,
		index("init_execution_context"), 1, out, index("set_input"), 2, 0, at(fuzzTensors), index("unknown"), 1})
	f.Add([]byte{index("load"), at(fuzzBad), 1, 6, 0, out, index("load"), at(fuzzBuilders + 16), 2, 1, 3, out})
	for _, name := range names {
		f.Add(append([]byte{index(name)}, slices.Repeat([]byte{255, 255, 255, 255, 255, 255, 255, 255, 255}, 5)...))
		f.Add([]byte{index(name), 101, 113, 107, 119, 109, 115})
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		if len(input) > 1<<11 {
			t.Skip("longer programs find nothing more")
		}
		root := t.TempDir()
		inside := filepath.Join(root, "inside")
		for _, d := range []string{inside, filepath.Join(root, "outside")} {
			if err := os.Mkdir(d, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		for path, content := range map[string]string{"inside/echo": "echo", "outside/secret": "echo\n" + secret} {
			if err := os.WriteFile(filepath.Join(root, path), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		before := openFDs(t)
		t.Run("guest", func(t *testing.T) { playInference(t, input, names, inside) })
		if after := openFDs(t); after != before {
			t.Errorf("%d descriptors before, %d after", before, after)
		}
	})
}

func playInference(t *testing.T, input []byte, names []string, inside string) {
	p := program{input}
	c := Config{
		Preopens: []Preopen{{Name: "/", Path: inside}},
		NN: NN{Inference: &tableInference{t: t, graphs: map[uint32]bool{}, inputs: map[uint32][]byte{}}, Log: func(string) {}, Models: []NNModel{
			{Name: "default", Encoding: accel.EncodingONNX, Target: accel.TargetAuto, Path: filepath.Join(inside, "echo")},
			{Name: "gone", Encoding: accel.EncodingGGML, Path: "/nowhere/at/all"},
		}},
	}
	if len(input)%2 == 1 {
		c.Trace = io.Discard
	}
	g := newGuest(t, c)
	strs := nnMemory(g.mem)
	given := map[uint32]bool{}
	for p.more() {
		op := p.byte()
		if op >= 240 {
			g.mem.PutUint32(uint32(p.uint64()%guestMemory), uint32(p.uint64()))
			continue
		}
		name := names[int(op)%len(names)]
		sig := nnImport(name).Sig
		args := p.nnArgs(strings.Repeat("i", len(sig.Params)), strs)
		errno := g.nn(name, args...)
		if errno == 0 && (name == "load" || name == "init_execution_context") {
			number, _ := g.mem.Uint32(uint32(args[len(args)-1]))
			if given[number] || number == 0 {
				t.Fatalf("%s gives number %d again", name, number)
			}
			given[number] = true
		}
	}
	g.checkCanary()
	if strings.Contains(string(g.mem), secret[1:16]) {
		t.Error("the guest has read what is outside")
	}
}

// tableInference is what a worker makes of the calls, without a process for each
// guest: pkg/accel/wire has the fuzz targets for what lies between.
type tableInference struct {
	t      *testing.T
	last   uint32
	graphs map[uint32]bool
	inputs map[uint32][]byte
}

func (i *tableInference) number() uint32 {
	i.last++
	return i.last
}

func (i *tableInference) Load(files []int, config []byte, e accel.Encoding, target accel.Target) (uint32, accel.Errno) {
	if target > accel.TargetAuto || e == accel.EncodingAutodetect || len(files) != 1 {
		i.t.Errorf("load of %d files, encoding %d, target %d", len(files), e, target)
	}
	var st unix.Stat_t
	if err := unix.Fstat(files[0], &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		i.t.Errorf("the model has mode %o, %v", st.Mode, err)
	}
	b := make([]byte, 64)
	n, err := unix.Pread(files[0], b, 0)
	if err != nil || strings.Contains(string(b[:n]), secret[:16]) {
		i.t.Errorf("the model is %q, %v", b[:n], err)
	}
	if len(config) > 0 && config[0] == '!' {
		return 0, accel.ErrRuntime
	}
	graph := i.number()
	i.graphs[graph] = true
	return graph, 0
}

func (i *tableInference) Alive(graph uint32) bool { return i.graphs[graph] }

func (i *tableInference) Unload(graph uint32) accel.Errno {
	if !i.graphs[graph] {
		return accel.ErrInvalidArgument
	}
	delete(i.graphs, graph)
	return 0
}

func (i *tableInference) NewContext(graph uint32) (uint32, accel.Errno) {
	if !i.graphs[graph] {
		return 0, accel.ErrInvalidArgument
	}
	context := i.number()
	i.inputs[context] = nil
	return context, 0
}

func (i *tableInference) SetInput(context, _ uint32, kind accel.TensorType, dims, data []byte) accel.Errno {
	if kind > accel.I64 || len(dims)%4 != 0 || len(dims) > 4*maxDims {
		i.t.Errorf("a tensor of type %d with %d bytes of dimensions", kind, len(dims))
	}
	if _, ok := i.inputs[context]; !ok {
		return accel.ErrInvalidArgument
	}
	i.inputs[context] = slices.Clone(data)
	return 0
}

func (i *tableInference) Compute(context uint32) accel.Errno { return i.known(context, 0) }
func (i *tableInference) ComputeSingle(context uint32) accel.Errno {
	return i.known(context, accel.ErrEndOfSequence)
}
func (i *tableInference) FinishSingle(context uint32) accel.Errno { return i.known(context, 0) }

func (i *tableInference) known(context uint32, errno accel.Errno) accel.Errno {
	if _, ok := i.inputs[context]; !ok {
		return accel.ErrInvalidArgument
	}
	return errno
}

func (i *tableInference) Output(context, _ uint32, to []byte) (uint32, accel.Errno) {
	in, ok := i.inputs[context]
	switch {
	case !ok:
		return 0, accel.ErrInvalidArgument
	case len(in) > len(to):
		return uint32(len(in)), accel.ErrTooLarge
	}
	return uint32(copy(to, in)), 0
}

func (i *tableInference) OutputSingle(context, index uint32, to []byte) (uint32, accel.Errno) {
	return i.Output(context, index, to)
}

func (i *tableInference) CloseContext(context uint32) accel.Errno {
	errno := i.known(context, 0)
	delete(i.inputs, context)
	return errno
}

func (i *tableInference) Close() error { return nil }
