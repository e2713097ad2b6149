package accel

import (
	"context"
	"os"
	"strconv"
)

// Encoding is a model's format, by WASI-NN's numbers.
type Encoding uint32

// The encodings that have a backend, and those that are refused by name.
const (
	EncodingOpenVINO   Encoding = 0
	EncodingONNX       Encoding = 1
	EncodingTensorFlow Encoding = 2
	EncodingPyTorch    Encoding = 3
	EncodingTFLite     Encoding = 4
	EncodingAutodetect Encoding = 5
	EncodingGGML       Encoding = 6
)

// Target is the kind of device a guest asks for, by WASI-NN's numbers.
type Target uint32

// The targets. TargetAuto is a GPU if the container was granted one that the
// backend can use, else the CPU.
const (
	TargetCPU  Target = 0
	TargetGPU  Target = 1
	TargetTPU  Target = 2
	TargetAuto Target = 3
)

// TensorType is the type of a tensor's elements, by WASI-NN's numbers.
type TensorType uint8

// The types, each little-endian.
const (
	F16 TensorType = 0
	F32 TensorType = 1
	F64 TensorType = 2
	U8  TensorType = 3
	I32 TensorType = 4
	I64 TensorType = 5
)

// Tensor is one input. Dims may be any numbers and need not agree with
// len(Data): a backend checks what it uses. Data is valid during the call only,
// and may change meanwhile: a backend reads it once.
type Tensor struct {
	Type TensorType
	Dims []uint32
	Data []byte
}

// Errno is an error code of WASI-NN; 0 is success and never an error. What a
// backend returns wraps one of these (errors.As); anything else counts as
// ErrRuntime. The text beside it reaches the container's stderr.
type Errno uint32

// The codes of the specification, and from 100 on WasmEdge's.
const (
	ErrInvalidArgument      Errno = 1
	ErrInvalidEncoding      Errno = 2
	ErrMissingMemory        Errno = 3
	ErrBusy                 Errno = 4
	ErrRuntime              Errno = 5
	ErrUnsupportedOperation Errno = 6
	ErrTooLarge             Errno = 7
	ErrNotFound             Errno = 8
	ErrEndOfSequence        Errno = 100
	ErrContextFull          Errno = 101
	ErrPromptTooLong        Errno = 102
	ErrModelNotFound        Errno = 103
)

// Error is the code in words.
func (e Errno) Error() string {
	switch e {
	case ErrInvalidArgument:
		return "invalid argument"
	case ErrInvalidEncoding:
		return "invalid encoding"
	case ErrMissingMemory:
		return "missing memory"
	case ErrBusy:
		return "busy"
	case ErrRuntime:
		return "runtime error"
	case ErrUnsupportedOperation:
		return "unsupported operation"
	case ErrTooLarge:
		return "too large"
	case ErrNotFound:
		return "not found"
	case ErrEndOfSequence:
		return "end of sequence"
	case ErrContextFull:
		return "context full"
	case ErrPromptTooLong:
		return "prompt too long"
	case ErrModelNotFound:
		return "model not found"
	}
	return "error " + strconv.FormatUint(uint64(e), 10)
}

// Device is one thing that a backend's library can compute on.
type Device struct {
	// Backend is the name of the backend that found it.
	Backend string `json:"backend"`
	// Name is the library's own, such as "Vulkan0" or "CPU".
	Name string `json:"name"`
	// Description is the product's name.
	Description string `json:"description"`
	// GPU tells it from a CPU; Software is a GPU's driver that computes on the
	// CPU (lavapipe, llvmpipe) and has no device node.
	GPU      bool `json:"gpu"`
	Software bool `json:"software,omitempty"`
	// Memory is its memory in bytes, 0 if the library does not say.
	Memory uint64 `json:"memory,omitempty"`
}

// Grants says what of the machine a container may compute on beside the CPU.
type Grants struct {
	// Nodes are the device nodes of GPUs that config.json grants, by their path
	// on the host, such as "/dev/dri/renderD128". Without one, no GPU is used,
	// whatever a library finds.
	Nodes []string
	// Software lets a software GPU count as one if there is a node at all; a
	// setting of the host, for tests.
	Software bool
}

// Model is what Load gets.
type Model struct {
	// Files are the model's parts, open for reading and regular or memfds: one
	// for ggml, one for onnx. A backend may keep them mapped; the caller closes
	// them after Load has returned. A library that wants a path gets
	// /proc/self/fd/N.
	Files []*os.File
	// Config is the metadata as JSON, from the second builder or
	// load_by_name_with_config; nil for none.
	Config []byte
	Target Target
}

// Backend is one library. Its methods, and those of all that comes from it, are
// called from one goroutine at a time.
type Backend interface {
	// Name is "ggml" or "onnx".
	Name() string
	Encoding() Encoding
	// Version is the library's.
	Version() string
	// Devices lists all that the library finds, granted or not.
	Devices() ([]Device, error)
	// Load makes a graph. A GPU target without a granted GPU that the library
	// can use is an error; TargetAuto then takes the CPU and says so by log.
	Load(ctx context.Context, m Model) (Graph, error)
}

// Graph is a loaded model.
type Graph interface {
	NewContext() (Context, error)
	// Close frees what the graph holds once its contexts are closed. Contexts
	// may outlive it: their outputs stay readable, computing fails.
	Close()
}

// Context is one computation on a graph.
type Context interface {
	SetInput(index uint32, t Tensor) error
	// Compute runs until all outputs are there. When ctx ends it stops soon and
	// returns ErrRuntime.
	Compute(ctx context.Context) error
	// Output gives all bytes of an output, valid until the next call of any
	// method; ErrInvalidArgument for an index that does not exist, ErrRuntime
	// for one that was not computed yet.
	Output(index uint32) ([]byte, error)
	// ComputeSingle makes one step, a token, which OutputSingle then gives;
	// ErrEndOfSequence, ErrContextFull, ErrPromptTooLong end it.
	// FinishSingle resets the state. ErrUnsupportedOperation where a backend
	// has no steps.
	ComputeSingle(ctx context.Context) error
	OutputSingle(index uint32) ([]byte, error)
	FinishSingle() error
	Close()
}

// Options is what a backend is opened with.
type Options struct {
	// LibraryDirs are searched in order for the backend's library.
	LibraryDirs []string
	Grants      Grants
	// Log gets lines for the container's stderr, without a newline.
	Log func(line string)
}
