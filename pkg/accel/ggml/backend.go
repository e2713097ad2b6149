package ggml

import (
	"context"
	"fmt"
	"os"

	"github.com/runw/runw/pkg/accel"
)

const name = "ggml"

// Backend is llama.cpp. There is one in a process: the library's log and its
// devices are the process's.
type Backend struct {
	lib    *library
	log    *libraryLog
	say    func(string)
	grants grants
	// allGPUs says that the parts of the library for GPUs have been loaded.
	allGPUs bool
	pools   pools
}

var _ accel.Backend = (*Backend)(nil)

// Open loads the library from the first directory that has it; without one the
// error wraps ErrNoLibrary. Of its parts for GPUs none is touched unless a node
// is granted.
func Open(o accel.Options) (accel.Backend, error) {
	path, err := findLibrary(o.LibraryDirs, len(o.Grants.Nodes) > 0)
	if err != nil {
		return nil, fmt.Errorf("ggml: %w", err)
	}
	lib, err := openLibrary(path)
	if err != nil {
		return nil, fmt.Errorf("ggml: %w", err)
	}
	say := o.Log
	if say == nil {
		say = func(string) {}
	}
	b := &Backend{lib: lib, say: func(line string) { say("ggml: " + line) }}
	lines, err := lib.checkLayout()
	if err != nil {
		return nil, fmt.Errorf("ggml: %w", err)
	}
	for _, line := range lines {
		b.say(line)
	}
	b.pools = pools{lib: lib, say: b.say, open: map[int32]*pool{}}
	b.log = &libraryLog{out: b.say, least: levelError}
	b.log.install(lib)
	lib.init()
	if err := lib.loadCPU(); err != nil {
		return nil, fmt.Errorf("ggml: %w: %s", err, b.log.takeError())
	}
	b.grants = readGrants(o.Grants, "/sys", "/proc")
	if o.Grants.Software {
		if err := showSoftware(); err != nil {
			return nil, fmt.Errorf("ggml: %w", err)
		}
	}
	if len(o.Grants.Nodes) > 0 {
		b.loadGPUs()
	}
	return b, nil
}

// showSoftware makes the library list a Vulkan driver that computes on the CPU:
// by itself it takes real GPUs only.
func showSoftware() error {
	const visible = "GGML_VK_VISIBLE_DEVICES"
	if os.Getenv(visible) != "" {
		return nil
	}
	return os.Setenv(visible, "0")
}

func (b *Backend) loadGPUs() {
	if !b.allGPUs {
		b.allGPUs = true
		b.lib.loadGPUs(b.say)
	}
}

// Name is "ggml".
func (b *Backend) Name() string { return name }

// Encoding is accel.EncodingGGML.
func (b *Backend) Encoding() accel.Encoding { return accel.EncodingGGML }

// Version is llama.cpp's and the commit it was built from.
func (b *Backend) Version() string { return b.lib.version() + " (" + b.lib.commit() + ")" }

// Devices lists the CPU and every GPU whose part of the library is there and can
// be loaded.
func (b *Backend) Devices() ([]accel.Device, error) {
	b.loadGPUs()
	var list []accel.Device
	for _, d := range b.lib.devices() {
		list = append(list, d.Device)
	}
	return list, nil
}

// devicesFor gives the GPUs for a target, none for the CPU.
func (b *Backend) devicesFor(target accel.Target) ([]device, error) {
	switch target {
	case accel.TargetCPU:
		return nil, nil
	case accel.TargetGPU, accel.TargetAuto:
	default:
		return nil, fmt.Errorf("target %d: %w", target, accel.ErrUnsupportedOperation)
	}
	found := b.lib.devices()
	var allowed []device
	for _, d := range found {
		if b.grants.allows(d) {
			allowed = append(allowed, d)
		}
	}
	if len(allowed) > 0 {
		return allowed, nil
	}
	if target == accel.TargetGPU {
		return nil, fmt.Errorf("target GPU: %s: %w", b.grants.refusal(found), accel.ErrUnsupportedOperation)
	}
	b.say("target AUTO: the CPU: " + b.grants.refusal(found))
	return nil, nil
}

// Load checks the file, then has the library load it. Config may hold any keys of
// the metadata; they are the defaults of the graph's contexts.
func (b *Backend) Load(ctx context.Context, m accel.Model) (accel.Graph, error) {
	if len(m.Files) != 1 {
		return nil, fmt.Errorf("model of %d files (want 1): %w", len(m.Files), accel.ErrInvalidArgument)
	}
	o := defaults()
	if len(m.Config) > 0 {
		if err := o.merge(m.Config); err != nil {
			return nil, err
		}
	}
	b.log.setLevel(o.run)
	devices, err := b.devicesFor(m.Target)
	if err != nil {
		return nil, err
	}
	if err := checkFile(m.Files[0]); err != nil {
		return nil, err
	}
	loaded, err := b.load(ctx, m.Files[0], o.model, devices)
	if err != nil {
		return nil, err
	}
	file, err := dup(m.Files[0])
	if err != nil {
		loaded.release()
		return nil, err
	}
	return &graph{backend: b, file: file, devices: devices, options: o, configured: len(m.Config) > 0, model: loaded}, nil
}
