package onnx

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/runw/runw/pkg/accel"
)

// provider is a way of ONNX Runtime's to compute on a GPU.
type provider struct {
	name    string // in metadata
	library string // what the library calls it
	// file is what is loaded beside the library; "" if it is built in.
	file string
	// nodes are the beginnings of the device nodes that it computes on.
	nodes []string
	// create, attach and release are the functions for its options; others are
	// attached by their short name.
	create, attach, release entry
	short                   string
	// vulkan providers compute on what Vulkan finds, which may be the CPU.
	vulkan bool
	// asked providers are never chosen unless the metadata names them.
	asked bool
}

// providers are in the order of preference. TensorRT compiles a model for
// minutes, so a guest has to ask for it.
var providers = []provider{
	{name: "tensorrt", library: "TensorrtExecutionProvider", file: "libonnxruntime_providers_tensorrt.so",
		nodes: []string{"/dev/nvidia", "/dev/nvgpu"}, create: createTensorRTOptions, attach: appendTensorRT, release: releaseTensorRTOptions, asked: true},
	{name: "cuda", library: "CUDAExecutionProvider", file: "libonnxruntime_providers_cuda.so",
		nodes: []string{"/dev/nvidia", "/dev/nvgpu"}, create: createCUDAOptions, attach: appendCUDA, release: releaseCUDAOptions},
	{name: "migraphx", library: "MIGraphXExecutionProvider", file: "libonnxruntime_providers_migraphx.so", short: "MIGraphX", nodes: []string{"/dev/kfd"}},
	{name: "rocm", library: "ROCMExecutionProvider", file: "libonnxruntime_providers_rocm.so",
		nodes: []string{"/dev/kfd"}, create: createROCMOptions, attach: appendROCM, release: releaseROCMOptions},
	{name: "webgpu", library: "WebGpuExecutionProvider", short: "WebGPU", vulkan: true, nodes: []string{"/dev/dri/", "/dev/nvidia", "/dev/nvgpu"}},
}

// Devices lists the providers that the library was built for. What a provider
// still lacks is in its description.
func (b *backend) Devices() ([]accel.Device, error) {
	built, err := b.lib.providers()
	if err != nil {
		return nil, fmt.Errorf("onnx: providers: %w", err)
	}
	var list []accel.Device
	for _, name := range built {
		d := accel.Device{Backend: b.Name(), Name: strings.TrimSuffix(name, "ExecutionProvider"), Description: name}
		i := slices.IndexFunc(providers, func(p provider) bool { return p.library == name })
		if i < 0 {
			list = append(list, d)
			continue
		}
		d.GPU = true
		if file := b.absent(providers[i]); file != "" {
			d.Description += " (" + file + " is missing)"
		}
		if providers[i].vulkan {
			list = append(list, onVulkan(d)...)
		} else {
			list = append(list, d)
		}
	}
	return list, nil
}

// onVulkan makes of a device one for each that Vulkan finds.
func onVulkan(d accel.Device) []accel.Device {
	found, err := vulkanDevices()
	if err != nil {
		d.Description += " (" + oneLine(err.Error()) + ")"
	} else if len(found) == 0 {
		d.Description += " (Vulkan finds no device)"
	}
	if len(found) == 0 {
		return []accel.Device{d}
	}
	var list []accel.Device
	for _, v := range found {
		d.Description, d.Software = v.name, v.software
		list = append(list, d)
	}
	return list
}

// hardware says why Vulkan has nothing to compute on, "" if it has.
func (b *backend) hardware() string {
	found, err := vulkanDevices()
	switch {
	case err != nil:
		return oneLine(err.Error())
	case len(found) == 0:
		return "Vulkan finds no device"
	case b.grants.Software || slices.ContainsFunc(found, func(v vulkanDevice) bool { return !v.software }):
		return ""
	}
	return "Vulkan finds nothing but " + found[0].name + ", which is the CPU"
}

// absent is the file that a provider needs and that is not there.
func (b *backend) absent(p provider) string {
	if p.file == "" {
		return ""
	}
	path := filepath.Join(filepath.Dir(b.lib.path), p.file)
	if _, err := os.Stat(path); err != nil {
		return path
	}
	return ""
}

// gpu chooses the provider for the devices that the container was granted. The
// error says what is missing.
func (b *backend) gpu(c config) (provider, error) {
	if c.Provider != "" && !slices.ContainsFunc(providers, func(p provider) bool { return p.name == c.Provider }) {
		return provider{}, invalid("metadata: no provider is called %q", c.Provider)
	}
	if len(b.grants.Nodes) == 0 {
		return provider{}, unsupported("no GPU is granted to the container")
	}
	built, err := b.lib.providers()
	if err != nil {
		return provider{}, err
	}
	var reasons []string
	for _, p := range providers {
		switch {
		case c.Provider != "" && c.Provider != p.name, c.Provider == "" && p.asked:
		case !p.granted(b.grants.Nodes):
			reasons = append(reasons, p.name+" computes on none of the granted "+strings.Join(b.grants.Nodes, ", "))
		case !slices.Contains(built, p.library):
			reasons = append(reasons, b.lib.path+" was built without "+p.name)
		case b.absent(p) != "":
			reasons = append(reasons, p.name+" needs "+b.absent(p))
		case p.vulkan:
			if reason := b.hardware(); reason != "" {
				reasons = append(reasons, p.name+": "+reason)
				continue
			}
			return p, nil
		default:
			return p, nil
		}
	}
	return provider{}, unsupported("%s", strings.Join(reasons, "; "))
}

func (p provider) granted(nodes []string) bool {
	for _, node := range nodes {
		if slices.ContainsFunc(p.nodes, func(start string) bool { return strings.HasPrefix(node, start) }) {
			return true
		}
	}
	return false
}

// add makes a session use the provider, before the CPU, which takes what it cannot.
func (l *library) add(options object, p provider) error {
	if p.create == 0 {
		return l.appendByName(options, p.short)
	}
	settings, err := l.create(p.create)
	if err != nil {
		return err
	}
	defer l.release(p.release, settings)
	return l.call(p.attach, options, settings)
}

// target chooses where a model computes: nil is the CPU.
func (b *backend) target(t accel.Target, c config) (*provider, error) {
	switch t {
	case accel.TargetCPU:
		return nil, nil
	case accel.TargetGPU, accel.TargetAuto:
		p, err := b.gpu(c)
		switch {
		case err == nil:
			return &p, nil
		case t == accel.TargetGPU || errors.Is(err, accel.ErrInvalidArgument):
			return nil, fmt.Errorf("target GPU: %w", err)
		}
		b.fallBack(err)
		return nil, nil
	case accel.TargetTPU:
		return nil, unsupported("target TPU: ONNX Runtime has none")
	}
	return nil, invalid("target %d", t)
}

func (b *backend) fallBack(err error) {
	b.log("onnx: target AUTO: the CPU computes: " + oneLine(err.Error()))
}
