package hostfuncs

import (
	"github.com/runw/runw/pkg/accel"
	"github.com/runw/runw/pkg/hostfuncs/abi"
)

// nnModule is WASI-NN's module in its witx form, with WasmEdge's additions.
const nnModule = "wasi_ephemeral_nn"

var nnFunctions = []function{
	{module: nnModule, name: "load", params: "iiiii", results: "i",
		names: "builders,builder_count,encoding,target,graph=4", nn: (*Host).nnLoad},
	{module: nnModule, name: "load_by_name", params: "iii", results: "i",
		names: "name$,name_len,graph=4", nn: (*Host).nnLoadByName},
	{module: nnModule, name: "load_by_name_with_config", params: "iiiii", results: "i",
		names: "name$,name_len,config$,config_len,graph=4", nn: (*Host).nnLoadByNameWithConfig},
	{module: nnModule, name: "init_execution_context", params: "ii", results: "i",
		names: "graph,context=4", nn: (*Host).nnInitExecutionContext},
	{module: nnModule, name: "set_input", params: "iii", results: "i",
		names: "context,index,tensor", nn: (*Host).nnSetInput},
	{module: nnModule, name: "compute", params: "i", results: "i",
		names: "context", nn: (*Host).nnCompute},
	{module: nnModule, name: "get_output", params: "iiiii", results: "i",
		names: "context,index,out,out_max,written=4", nn: (*Host).nnGetOutput},
	{module: nnModule, name: "compute_single", params: "i", results: "i",
		names: "context", nn: (*Host).nnComputeSingle},
	{module: nnModule, name: "get_output_single", params: "iiiii", results: "i",
		names: "context,index,out,out_max,written=4", nn: (*Host).nnGetOutputSingle},
	{module: nnModule, name: "fini_single", params: "i", results: "i",
		names: "context", nn: (*Host).nnFiniSingle},
	{module: nnModule, name: "unload", params: "i", results: "i",
		names: "graph", nn: (*Host).nnUnload},
	{module: nnModule, name: "finalize_execution_context", params: "i", results: "i",
		names: "context", nn: (*Host).nnFinalizeExecutionContext},
}

// Inference computes for a guest; accel/wire.Client is one. Its methods answer
// with 0 or a code for the guest, and have told the reason to whom it concerns.
// Numbers of graphs and contexts are never given out twice.
type Inference interface {
	// Load makes a graph of a model's files, which stay the caller's.
	Load(files []int, config []byte, e accel.Encoding, t accel.Target) (graph uint32, errno accel.Errno)
	// Alive says that nothing has ended a graph but perhaps Unload.
	Alive(graph uint32) bool
	Unload(graph uint32) accel.Errno
	NewContext(graph uint32) (context uint32, errno accel.Errno)
	// SetInput takes dims as little-endian numbers of 4 bytes.
	SetInput(context, index uint32, t accel.TensorType, dims, data []byte) accel.Errno
	Compute(context uint32) accel.Errno
	ComputeSingle(context uint32) accel.Errno
	FinishSingle(context uint32) accel.Errno
	// Output fills to. If it is too short, n is the length that is needed,
	// beside accel.ErrTooLarge.
	Output(context, index uint32, to []byte) (n uint32, errno accel.Errno)
	OutputSingle(context, index uint32, to []byte) (n uint32, errno accel.Errno)
	CloseContext(context uint32) accel.Errno
	Close() error
}

// NN is what a guest has of wasi_ephemeral_nn.
type NN struct {
	// Inference computes; nil answers each load with ErrUnsupportedOperation.
	// The Host closes it.
	Inference Inference
	// Models are those that load_by_name knows.
	Models []NNModel
	// Log gets lines that say why a guest was told no.
	Log func(line string)
}

// NNModel is a model that a guest loads by its name.
type NNModel struct {
	Name     string
	Encoding accel.Encoding
	Target   accel.Target
	// Path is absolute, in the container; the guest's preopens do not matter.
	Path string
}

// neural is the state of one guest's inference.
type neural struct {
	NN
	// named are the graphs that load_by_name has given out.
	named map[string]uint32
}

func (n *neural) refuse(function, why string, errno accel.Errno) accel.Errno {
	if n.Log != nil {
		n.Log(function + ": " + why)
	}
	return errno
}

// nnResult checks the place of a result before anything is done that could not be
// undone. A module without a memory has nowhere to put it.
func nnResult(mem abi.Memory, ptr uint64) accel.Errno {
	if mem == nil {
		return accel.ErrMissingMemory
	}
	if _, ok := mem.Bytes(uint32(ptr), 4); !ok {
		return accel.ErrInvalidArgument
	}
	return 0
}

func (h *Host) nnInitExecutionContext(mem abi.Memory, p []uint64) accel.Errno {
	if errno := nnResult(mem, p[1]); errno != 0 {
		return errno
	}
	if h.nn.Inference == nil {
		return accel.ErrInvalidArgument
	}
	context, errno := h.nn.Inference.NewContext(uint32(p[0]))
	if errno == 0 {
		mem.PutUint32(uint32(p[1]), context)
	}
	return errno
}

// tensorSize is the size of a tensor's record: dims_ptr, dims_count, type, data_ptr,
// data_len. Of the type one byte counts, although four lie there: guests leave
// the other three undefined.
const tensorSize = 20

// maxDims bounds the dimensions of a tensor.
const maxDims = 64

func (h *Host) nnSetInput(mem abi.Memory, p []uint64) accel.Errno {
	if mem == nil {
		return accel.ErrMissingMemory
	}
	record, ok := mem.Bytes(uint32(p[2]), tensorSize)
	if !ok {
		return accel.ErrInvalidArgument
	}
	word := func(at uint32) uint32 { v, _ := abi.Memory(record).Uint32(at); return v }
	count, kind := word(4), accel.TensorType(record[8])
	if kind > accel.I64 {
		return h.nn.refuse("set_input", "a tensor of an unknown type", accel.ErrInvalidArgument)
	}
	if count > maxDims {
		return h.nn.refuse("set_input", "a tensor of too many dimensions", accel.ErrInvalidArgument)
	}
	dims, ok := mem.Bytes(word(0), 4*count)
	if !ok {
		return accel.ErrInvalidArgument
	}
	data, ok := mem.Bytes(word(12), word(16))
	if !ok || h.nn.Inference == nil {
		return accel.ErrInvalidArgument
	}
	return h.nn.Inference.SetInput(uint32(p[0]), uint32(p[1]), kind, dims, data)
}

func (h *Host) nnGetOutput(mem abi.Memory, p []uint64) accel.Errno {
	return h.nnOutput(mem, p, Inference.Output)
}

func (h *Host) nnGetOutputSingle(mem abi.Memory, p []uint64) accel.Errno {
	return h.nnOutput(mem, p, Inference.OutputSingle)
}

// nnOutput fills the guest's buffer, or says how long it has to be.
func (h *Host) nnOutput(mem abi.Memory, p []uint64, get func(Inference, uint32, uint32, []byte) (uint32, accel.Errno)) accel.Errno {
	if errno := nnResult(mem, p[4]); errno != 0 {
		return errno
	}
	to, ok := mem.Bytes(uint32(p[2]), uint32(p[3]))
	if !ok || h.nn.Inference == nil {
		return accel.ErrInvalidArgument
	}
	n, errno := get(h.nn.Inference, uint32(p[0]), uint32(p[1]), to)
	if errno == 0 || errno == accel.ErrTooLarge && n > 0 {
		mem.PutUint32(uint32(p[4]), n)
	}
	return errno
}

func (h *Host) nnCompute(_ abi.Memory, p []uint64) accel.Errno {
	return h.nnCall(p, Inference.Compute)
}

func (h *Host) nnComputeSingle(_ abi.Memory, p []uint64) accel.Errno {
	return h.nnCall(p, Inference.ComputeSingle)
}

func (h *Host) nnFiniSingle(_ abi.Memory, p []uint64) accel.Errno {
	return h.nnCall(p, Inference.FinishSingle)
}

func (h *Host) nnFinalizeExecutionContext(_ abi.Memory, p []uint64) accel.Errno {
	return h.nnCall(p, Inference.CloseContext)
}

// nnUnload also forgets the graph's name: loading by it makes another graph.
func (h *Host) nnUnload(_ abi.Memory, p []uint64) accel.Errno {
	for name, graph := range h.nn.named {
		if graph == uint32(p[0]) {
			delete(h.nn.named, name)
		}
	}
	return h.nnCall(p, Inference.Unload)
}

// nnCall is for what takes one number. Without a process for inference none was
// ever given out.
func (h *Host) nnCall(p []uint64, call func(Inference, uint32) accel.Errno) accel.Errno {
	if h.nn.Inference == nil {
		return accel.ErrInvalidArgument
	}
	return call(h.nn.Inference, uint32(p[0]))
}

// nnName is how a trace shows a code.
func nnName(e accel.Errno) string {
	if e == 0 {
		return "SUCCESS"
	}
	return e.Error()
}
