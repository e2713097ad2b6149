package hostfuncs

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/runw/runw/pkg/accel"
	"github.com/runw/runw/pkg/accel/acceltest"
	"github.com/runw/runw/pkg/accel/wire"
	"github.com/runw/runw/pkg/hostfuncs/abi"
)

func TestMain(m *testing.M) {
	acceltest.Main()
	os.Exit(m.Run())
}

// nnGuest is a guest with inference in a real worker process, a directory with
// models that is its root, and what its stderr would show.
type nnGuest struct {
	*guest
	dir     string
	workers *acceltest.Spawned
	log     []string
}

func newNNGuest(t testing.TB, quotas string, c Config) *nnGuest {
	t.Helper()
	limits, err := wire.ParseLimits(quotas)
	if err != nil {
		t.Fatal(err)
	}
	fd, workers := acceltest.Start(t, limits)
	g := &nnGuest{dir: t.TempDir(), workers: workers}
	for name, text := range map[string]string{"echo": "echo", "crash": "crash", "broken": "?"} {
		if err := os.WriteFile(filepath.Join(g.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	log := func(line string) { g.log = append(g.log, line) }
	c.NN.Inference, c.NN.Log = wire.NewClient(fd, log), log
	if c.Preopens == nil {
		c.Preopens = []Preopen{{Name: "/models", Path: g.dir}}
	}
	for i := range c.NN.Models {
		if !filepath.IsAbs(c.NN.Models[i].Path) {
			c.NN.Models[i].Path = filepath.Join(g.dir, c.NN.Models[i].Path)
		}
	}
	g.guest = newGuest(t, c)
	return g
}

func nnImport(name string) abi.Import {
	for _, f := range nnFunctions {
		if f.name == name {
			return abi.Import{Module: nnModule, Name: name, Sig: f.signature()}
		}
	}
	return abi.Import{Module: nnModule, Name: name, Sig: abi.Signature{Params: []abi.ValueType{abi.I32}, Results: []abi.ValueType{abi.I32}}}
}

// nn calls a function of wasi_ephemeral_nn.
func (g *guest) nn(name string, args ...uint64) accel.Errno {
	g.t.Helper()
	key := nnModule + "." + name
	if _, ok := g.funcs[key]; !ok {
		linked, err := g.Link([]abi.Import{nnImport(name)})
		if err != nil {
			g.t.Fatal(err)
		}
		g.funcs[key] = linked[0]
	}
	f := g.funcs[key]
	if len(args) != len(f.Sig.Params) {
		g.t.Fatalf("%s takes %d parameters, not %d", name, len(f.Sig.Params), len(args))
	}
	stack := slices.Clone(args)
	for i := range stack {
		stack[i] = uint64(uint32(stack[i])) | 0xdeadbeef<<32
	}
	if err := f.Call(g.mem, stack); err != nil {
		g.t.Fatalf("%s ends the guest: %v", name, err)
	}
	return accel.Errno(stack[0])
}

func (g *nnGuest) want(want accel.Errno, name string, args ...uint64) {
	g.t.Helper()
	if got := g.nn(name, args...); got != want {
		g.t.Fatalf("%s%v = %d, want %d; log %q", name, args, got, want, g.log)
	}
}

// logged says that a line with the text has come since the last time.
func (g *nnGuest) logged(text string) {
	g.t.Helper()
	if !slices.ContainsFunc(g.log, func(line string) bool { return strings.Contains(line, text) }) {
		g.t.Errorf("no line with %q in %q", text, g.log)
	}
	g.log = nil
}

// builders writes the array over parts: its address and length.
func (g *nnGuest) builders(parts ...string) (ptr, n uint64) {
	g.t.Helper()
	var pairs []uint64
	for _, p := range parts {
		at, size := g.put(p)
		pairs = append(pairs, at, size)
	}
	return g.iovec(pairs...)
}

// load loads a model by the text of its first builder.
func (g *nnGuest) load(parts ...string) uint64 {
	g.t.Helper()
	ptr, n := g.builders(parts...)
	out := g.alloc(4)
	g.want(0, "load", ptr, n, uint64(accel.EncodingGGML), uint64(accel.TargetCPU), out)
	return uint64(g.u32(out))
}

// tensor writes a record with the guest's usual rubbish behind the type.
func (g *nnGuest) tensor(kind accel.TensorType, dims []uint32, data string) uint64 {
	g.t.Helper()
	at := g.alloc(4 * len(dims))
	for i, d := range dims {
		g.mem.PutUint32(uint32(at)+4*uint32(i), d)
	}
	ptr, n := g.put(data)
	record := g.alloc(tensorSize)
	for i, v := range []uint64{at, uint64(len(dims)), uint64(kind) | 0xabcdef00, ptr, n} {
		g.mem.PutUint32(uint32(record)+4*uint32(i), uint32(v))
	}
	return record
}

// context makes one on a graph and sets its first input.
func (g *nnGuest) context(graph uint64, input string) uint64 {
	g.t.Helper()
	out := g.alloc(4)
	g.want(0, "init_execution_context", graph, out)
	ctx := uint64(g.u32(out))
	g.want(0, "set_input", ctx, 0, g.tensor(accel.U8, []uint32{1}, input))
	return ctx
}

func (g *nnGuest) output(name string, ctx, index uint64) string {
	g.t.Helper()
	to, written := g.alloc(256), g.alloc(4)
	g.want(0, name, ctx, index, to, 256, written)
	return string(g.bytes(to, uint64(g.u32(written))))
}
