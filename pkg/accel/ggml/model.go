package ggml

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/runw/runw/pkg/accel"
	"github.com/runw/runw/pkg/accel/ggml/gguf"
)

// model is a model in the library, alive as long as a graph or a context holds it.
type model struct {
	lib     *library
	ptr     modelPtr
	vocab   vocabPtr
	options modelOptions
	holders int
}

func (m *model) hold() *model {
	m.holders++
	return m
}

func (m *model) release() {
	if m.holders--; m.holders == 0 {
		m.lib.freeModel(m.ptr)
	}
}

// checkFile reports what is wrong with a model's file before the library sees it.
func checkFile(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("model: %w", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("model: %s is no regular file: %w", f.Name(), accel.ErrInvalidArgument)
	}
	if err := gguf.Check(f, info.Size()); errors.Is(err, gguf.ErrFormat) {
		return fmt.Errorf("model: %w: %w", err, accel.ErrInvalidArgument)
	} else if err != nil {
		return fmt.Errorf("model: %w: %w", err, accel.ErrRuntime)
	}
	return nil
}

// overrides are llama_model_tensor_buft_override.
type override struct {
	pattern *byte
	buffer  uintptr
}

// load loads the model from an open file onto the devices, none for the CPU. The
// file is read through the descriptor, which no permission can close any more,
// and mapped: containers that use the same file share its pages.
func (b *Backend) load(ctx context.Context, f *os.File, o modelOptions, devices []device) (*model, error) {
	l := b.lib
	p := l.modelDefaults()
	var pins runtime.Pinner
	defer pins.Unpin()
	list := make([]devicePtr, len(devices)+1) // ends with a null
	for i, d := range devices {
		list[i] = d.ptr
	}
	pins.Pin(&list[0])
	setPointer(&p, modelDevices, &list[0])
	p.setU32(modelGPULayers, uint32(o.gpuLayers))
	if len(devices) == 0 {
		p.setU32(modelGPULayers, 0)
	}
	if experts := b.expertsOnCPU(o, &pins); experts != nil && len(devices) > 0 {
		setPointer(&p, modelOverrides, experts)
	}
	goOn := newAbort(1)
	defer goOn.free()
	defer goOn.watch(ctx, 0)()
	if l.layout.model {
		if err := o.rest(&p, &pins); err != nil {
			return nil, err
		}
		setPointer(&p, modelProgressData, goOn.address())
		p.setU64(modelProgress, uint64(l.strlen))
	}
	file, err := b.stream(f)
	if err != nil {
		return nil, err
	}
	defer l.closeFile(file)
	ptr := l.loadModel(file, p)
	if ptr == 0 {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("model: %w: %w", err, accel.ErrRuntime)
		}
		return nil, fmt.Errorf("model: %s: %w", b.log.takeError(), accel.ErrInvalidArgument)
	}
	return &model{lib: l, ptr: ptr, vocab: l.vocab(ptr), options: o, holders: 1}, nil
}

// stream is the file as C's FILE, at its beginning.
func (b *Backend) stream(f *os.File) (cFile, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return 0, fmt.Errorf("model: %w", err)
	}
	if _, err := unix.Seek(fd, 0, unix.SEEK_SET); err != nil {
		_ = unix.Close(fd)
		return 0, fmt.Errorf("model: seek: %w", err)
	}
	stream := b.lib.openFile(int32(fd), "rb")
	if stream == 0 {
		_ = unix.Close(fd)
		return 0, fmt.Errorf("model: fdopen failed: %w", accel.ErrRuntime)
	}
	return stream, nil
}

// rest sets what lies behind the stable part of the parameters.
func (o modelOptions) rest(p *params, pins *runtime.Pinner) error {
	const none, mapped, locked, both = 0, 1, 2, 3
	mode := uint32(none)
	switch {
	case o.mmap && o.mlock:
		mode = both
	case o.mmap:
		mode = mapped
	case o.mlock:
		mode = locked
	}
	p.setU32(modelLoadMode, mode)
	p.setU32(modelSplitMode, uint32(o.splitMode))
	p.setU32(modelMainGPU, uint32(o.mainGPU))
	// Repacked weights are a private copy of the model in each container.
	p.setBool(modelExtraBufts, o.repack)
	if o.tensorSplit == "" {
		return nil
	}
	// The library reads llama_max_devices() of them, 16 in the tested version.
	shares := new([128]float32)
	for i, part := range strings.Split(o.tensorSplit, ",") {
		v, err := strconv.ParseFloat(strings.TrimSpace(part), 32)
		if err != nil || i == len(shares) || !(v >= 0) {
			return fmt.Errorf("metadata key %q: %q: %w", "tensor-split", o.tensorSplit, accel.ErrInvalidArgument)
		}
		shares[i] = float32(v)
	}
	pins.Pin(shares)
	setPointer(p, modelTensorSplit, shares)
	return nil
}

// expertsOnCPU is the list of rules that keep expert layers of a mixture in the
// CPU's memory, nil without any.
func (b *Backend) expertsOnCPU(o modelOptions, pins *runtime.Pinner) *override {
	if o.cpuExperts == 0 {
		return nil
	}
	const experts = `\.ffn_(up|down|gate|gate_up)_(ch|)exps`
	patterns := []string{experts}
	if o.cpuExperts > 0 {
		patterns = nil
		for i := range o.cpuExperts {
			patterns = append(patterns, `blk\.`+strconv.FormatInt(i, 10)+experts)
		}
	}
	var buffer uintptr
	for _, d := range b.lib.devices() {
		if !d.GPU {
			buffer = b.lib.deviceBuft(d.ptr)
			break
		}
	}
	rules := make([]override, len(patterns)+1) // ends with a null
	for i, pattern := range patterns {
		text := append([]byte(pattern), 0)
		pins.Pin(&text[0])
		rules[i] = override{&text[0], buffer}
	}
	pins.Pin(&rules[0])
	return &rules[0]
}
