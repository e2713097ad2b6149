package onnx

import (
	"fmt"
	"unsafe"

	"github.com/ebitengine/purego"

	"github.com/runw/runw/pkg/accel"
)

// apiVersion is the function table that is asked for. Tables only grow, so a
// later library gives it too; 22 is the first that can end a load.
const apiVersion = 22

// entry is a function's place in the table (OrtApi of onnxruntime_c_api.h).
type entry int

const (
	getErrorCode                entry = 1
	getErrorMessage             entry = 2
	createEnv                   entry = 3
	createSessionFromArray      entry = 8
	run                         entry = 9
	createSessionOptions        entry = 10
	setExecutionMode            entry = 13
	setLogSeverity              entry = 22
	setIntraOpThreads           entry = 24
	setInterOpThreads           entry = 25
	sessionInputCount           entry = 30
	sessionOutputCount          entry = 31
	sessionInputTypeInfo        entry = 33
	sessionOutputTypeInfo       entry = 34
	sessionInputName            entry = 36
	sessionOutputName           entry = 37
	createRunOptions            entry = 39
	runOptionsSetTerminate      entry = 46
	createTensor                entry = 48
	createTensorWithData        entry = 49
	tensorMutableData           entry = 51
	castTypeInfoToTensorInfo    entry = 55
	onnxTypeOfTypeInfo          entry = 56
	tensorElementType           entry = 60
	dimensionsCount             entry = 61
	dimensions                  entry = 62
	shapeElementCount           entry = 64
	tensorTypeAndShape          entry = 65
	valueType                   entry = 67
	createCPUMemoryInfo         entry = 69
	allocatorFree               entry = 76
	allocatorWithDefaultOptions entry = 78
	releaseEnv                  entry = 92
	releaseStatus               entry = 93
	releaseMemoryInfo           entry = 94
	releaseSession              entry = 95
	releaseValue                entry = 96
	releaseRunOptions           entry = 97
	releaseTypeInfo             entry = 98
	releaseTensorInfo           entry = 99
	releaseSessionOptions       entry = 100
	availableProviders          entry = 125
	releaseAvailableProviders   entry = 126
	addSessionConfigEntry       entry = 130
	addInitializer              entry = 150
	appendROCM                  entry = 153
	appendTensorRT              entry = 170
	createTensorRTOptions       entry = 171
	releaseTensorRTOptions      entry = 174
	appendCUDA                  entry = 204
	createCUDAOptions           entry = 205
	releaseCUDAOptions          entry = 208
	addExternalInitializers     entry = 210
	appendProvider              entry = 216
	createROCMOptions           entry = 255
	releaseROCMOptions          entry = 258
	setDeterministicCompute     entry = 273
	setLoadCancellation         entry = 293

	entries = 294
)

// The library's objects, each an address of its own memory.
type object = uintptr

// library is libonnxruntime.
type library struct {
	path    string
	version string
	table   [entries]uintptr
	env     object
	memory  object // describes memory of the CPU
	malloc  object // the allocator of what it hands out
}

// openLibrary loads the library at path and checks that it is one that this
// package knows.
func openLibrary(path string) (*library, error) {
	handle, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, err
	}
	symbol, err := purego.Dlsym(handle, "OrtGetApiBase")
	if err != nil {
		return nil, err
	}
	base, _, _ := purego.SyscallN(symbol)
	if base == 0 {
		return nil, fmt.Errorf("OrtGetApiBase gives nothing")
	}
	functions := unsafe.Slice((*uintptr)(pointer(base)), 2) // GetApi, GetVersionString
	text, _, _ := purego.SyscallN(functions[1])
	l := &library{path: path, version: goString(text)}
	if err := checkVersion(l.version); err != nil {
		return nil, err
	}
	api, _, _ := purego.SyscallN(functions[0], apiVersion)
	if api == 0 {
		return nil, fmt.Errorf("version %s gives no interface of version %d", l.version, apiVersion)
	}
	copy(l.table[:], unsafe.Slice((*uintptr)(pointer(api)), entries))
	return l, l.start()
}

// start makes what all sessions share.
func (l *library) start() error {
	// Fatal only: what goes wrong is in the status, and a logger of ours would
	// be called by threads that Go does not know.
	const fatal = 4
	name := cString("runw")
	if err := l.call(createEnv, fatal, uintptr(unsafe.Pointer(&name[0])), uintptr(unsafe.Pointer(&l.env))); err != nil {
		return err
	}
	const deviceAllocator, memoryDefault = 0, 0
	if err := l.call(createCPUMemoryInfo, deviceAllocator, memoryDefault, uintptr(unsafe.Pointer(&l.memory))); err != nil {
		return err
	}
	return l.call(allocatorWithDefaultOptions, uintptr(unsafe.Pointer(&l.malloc)))
}

// call calls a function that returns a status. Pointers to Go's memory are made in
// the call's own arguments, or else the compiler does not keep what they point to.
//
//go:uintptrescapes
func (l *library) call(e entry, args ...uintptr) error {
	status, _, _ := purego.SyscallN(l.table[e], args...)
	if status == 0 {
		return nil
	}
	code, _, _ := purego.SyscallN(l.table[getErrorCode], status)
	text, _, _ := purego.SyscallN(l.table[getErrorMessage], status)
	err := &statusError{code: int32(code), text: oneLine(goString(text))}
	l.release(releaseStatus, status)
	return err
}

// release calls one of the functions that give an object back.
func (l *library) release(e entry, o object) {
	if o != 0 {
		purego.SyscallN(l.table[e], o)
	}
}

func (l *library) number(e entry, o object) (int, error) {
	var n uintptr
	err := l.call(e, o, uintptr(unsafe.Pointer(&n)))
	return int(n), err
}

func (l *library) kind(e entry, o object) (int32, error) {
	var n int32
	err := l.call(e, o, uintptr(unsafe.Pointer(&n)))
	return n, err
}

// object asks an object for one that it holds.
func (l *library) object(e entry, of object) (object, error) {
	var o object
	err := l.call(e, of, uintptr(unsafe.Pointer(&o)))
	return o, err
}

// create makes an object of nothing.
func (l *library) create(e entry) (object, error) {
	var o object
	err := l.call(e, uintptr(unsafe.Pointer(&o)))
	return o, err
}

// at asks a session for the description, or the name, of its input or output i.
func (l *library) at(e entry, session object, i int) (object, error) {
	var o object
	err := l.call(e, session, uintptr(i), uintptr(unsafe.Pointer(&o)))
	return o, err
}

// name is an input's or output's, in Go's memory and in the library's.
func (l *library) name(e entry, session object, i int) (string, object, error) {
	var o object
	err := l.call(e, session, uintptr(i), l.malloc, uintptr(unsafe.Pointer(&o)))
	return goString(o), o, err
}

// providers are the names of what the library was built for.
func (l *library) providers() ([]string, error) {
	var list uintptr
	var count int32
	if err := l.call(availableProviders, uintptr(unsafe.Pointer(&list)), uintptr(unsafe.Pointer(&count))); err != nil {
		return nil, err
	}
	var names []string
	for _, p := range unsafe.Slice((*uintptr)(pointer(list)), count) {
		names = append(names, goString(p))
	}
	return names, l.call(releaseAvailableProviders, list, uintptr(count))
}

func (l *library) configure(options object, key, value string) error {
	k, v := cString(key), cString(value)
	return l.call(addSessionConfigEntry, options, uintptr(unsafe.Pointer(&k[0])), uintptr(unsafe.Pointer(&v[0])))
}

// appendByName adds a provider that has no function of its own.
func (l *library) appendByName(options object, name string) error {
	n := cString(name)
	return l.call(appendProvider, options, uintptr(unsafe.Pointer(&n[0])), 0, 0, 0)
}

func (l *library) session(options object, model []byte) (object, error) {
	var o object
	err := l.call(createSessionFromArray, l.env, uintptr(unsafe.Pointer(&model[0])), uintptr(len(model)), options, uintptr(unsafe.Pointer(&o)))
	return o, err
}

// initializers gives the weights' values to a session that is to be made: once to
// the graph, whose placeholders they replace, and once to the session, which
// without that copies them.
func (l *library) initializers(options object, names []string, values []object) error {
	if len(names) == 0 {
		return nil
	}
	pointers := make([]*byte, len(names))
	for i, name := range names {
		pointers[i] = &cString(name)[0]
		if err := l.call(addInitializer, options, uintptr(unsafe.Pointer(pointers[i])), values[i]); err != nil {
			return err
		}
	}
	return l.call(addExternalInitializers, options, uintptr(unsafe.Pointer(&pointers[0])), uintptr(unsafe.Pointer(&values[0])), uintptr(len(values)))
}

// tensorOn makes a value of data that stays where it is: mapped memory, which
// must outlive the value.
func (l *library) tensorOn(data []byte, dims []int64, element int32) (object, error) {
	var v object
	err := l.call(createTensorWithData, l.memory, uintptr(unsafe.Pointer(&data[0])), uintptr(len(data)),
		uintptr(unsafe.Pointer(unsafe.SliceData(dims))), uintptr(len(dims)), uintptr(element), uintptr(unsafe.Pointer(&v)))
	return v, err
}

// aligned says whether numbers of the weight's width can be where its data is:
// code compiled from C++ may fault on others.
func (w weight) aligned() bool {
	return uintptr(unsafe.Pointer(&w.data[0]))%uintptr(weightWidths[w.element]) == 0
}

// tensor makes a value in the library's memory, a copy of data.
func (l *library) tensor(data []byte, dims []int64, element int32) (object, error) {
	var v object
	err := l.call(createTensor, l.malloc, uintptr(unsafe.Pointer(unsafe.SliceData(dims))), uintptr(len(dims)),
		uintptr(element), uintptr(unsafe.Pointer(&v)))
	if err != nil {
		return 0, err
	}
	if err := l.fill(v, data); err != nil {
		l.release(releaseValue, v)
		return 0, err
	}
	return v, nil
}

// fill copies data into a value that has as much room.
func (l *library) fill(v object, data []byte) error {
	p, err := l.object(tensorMutableData, v)
	if err == nil && len(data) > 0 {
		copy(unsafe.Slice((*byte)(pointer(p)), len(data)), data)
	}
	return err
}

// view is the first size bytes of a value, where they are: for as long as it lives.
func (l *library) view(v object, size int) ([]byte, error) {
	p, err := l.object(tensorMutableData, v)
	if err != nil || size == 0 {
		return nil, err
	}
	return unsafe.Slice((*byte)(pointer(p)), size), nil
}

// dims are those of a tensor's description.
func (l *library) dims(info object) ([]int64, error) {
	n, err := l.number(dimensionsCount, info)
	if err != nil || n == 0 {
		return nil, err
	}
	dims := make([]int64, n)
	return dims, l.call(dimensions, info, uintptr(unsafe.Pointer(&dims[0])), uintptr(n))
}

// compute runs a session: names and values are the library's own.
func (l *library) compute(session, options object, inputNames, inputs, outputNames, outputs []object) error {
	return l.call(run, session, options,
		uintptr(unsafe.Pointer(unsafe.SliceData(inputNames))), uintptr(unsafe.Pointer(unsafe.SliceData(inputs))), uintptr(len(inputs)),
		uintptr(unsafe.Pointer(unsafe.SliceData(outputNames))), uintptr(len(outputs)), uintptr(unsafe.Pointer(unsafe.SliceData(outputs))))
}

// statusError is a failure as the library tells it.
type statusError struct {
	code int32
	text string
}

func (e *statusError) Error() string { return e.text }

// Unwrap gives the guest's code.
func (e *statusError) Unwrap() error {
	const invalidArgument, noModel, invalidProtobuf, notImplemented, invalidGraph = 2, 4, 7, 9, 10
	switch e.code {
	case invalidArgument, noModel, invalidProtobuf, invalidGraph:
		return accel.ErrInvalidArgument
	case notImplemented:
		return accel.ErrUnsupportedOperation
	}
	return accel.ErrRuntime
}

// pointer is an address in the library's memory, which Go never moves.
func pointer(p uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&p)) }

func goString(p uintptr) string {
	if p == 0 {
		return ""
	}
	n := 0
	for *(*byte)(unsafe.Add(pointer(p), n)) != 0 {
		n++
	}
	return string(unsafe.Slice((*byte)(pointer(p)), n))
}

func cString(s string) []byte { return append([]byte(s), 0) }
