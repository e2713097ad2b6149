package ggml

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/ebitengine/purego"

	"github.com/runw/runw/pkg/accel"
)

// deviceProps is ggml_backend_dev_props. Its capabilities, at the end, may grow.
type deviceProps struct {
	name, description *byte  // strings of C
	_, total          uint64 // free, all
	kind              uint32
	_                 uint32
	id                *byte
	_                 [4]uint64
}

// The kinds of devices, by the library's numbers.
const (
	kindCPU  = 0
	kindGPU  = 1
	kindIGPU = 2
)

// device is one that the library found.
type device struct {
	accel.Device
	ptr devicePtr
	// bus is the PCI address, "0000:c1:00.0", "" if it has none.
	bus string
}

// text is a name that a driver gave.
func text(p *byte) string { return clean(cString(p, 256)) }

// softwareGPUs are drivers that compute on the CPU, by their devices' names.
var softwareGPUs = []string{"llvmpipe", "lavapipe", "swiftshader", "softpipe", "pocl"}

// devices lists what the loaded parts of the library have found.
func (l *library) devices() []device {
	var list []device
	for i := range l.deviceCount() {
		d := device{ptr: l.device(i)}
		var props deviceProps
		l.deviceProps(d.ptr, &props)
		d.Device = accel.Device{
			Backend: name, Name: text(props.name), Description: text(props.description),
			GPU: props.kind == kindGPU || props.kind == kindIGPU, Memory: props.total,
		}
		d.bus = strings.ToLower(text(props.id))
		low := strings.ToLower(d.Description)
		for _, software := range softwareGPUs {
			d.Software = d.Software || d.GPU && d.bus == "" && strings.Contains(low, software)
		}
		list = append(list, d)
	}
	return list
}

// loadCPU loads the build of the CPU part that is best for this processor; a
// library that has it linked has registered it already.
func (l *library) loadCPU() error {
	if l.deviceCount() > 0 {
		return nil
	}
	best, score := filepath.Join(l.dir(), "libggml-cpu.so"), int32(0)
	variants, err := filepath.Glob(filepath.Join(l.dir(), "libggml-cpu-*.so"))
	if err != nil {
		return err
	}
	for _, path := range variants {
		handle, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
		if err != nil {
			continue // for another processor, perhaps: loading decides
		}
		if symbol, err := purego.Dlsym(handle, "ggml_backend_score"); err == nil {
			var points func() int32
			purego.RegisterFunc(&points, symbol)
			if n := points(); n > score {
				best, score = path, n
			}
		}
		_ = purego.Dlclose(handle)
	}
	if l.loadBackend(best) == 0 {
		return fmt.Errorf("%s: no part of the library for this processor (libggml-cpu*.so)", l.dir())
	}
	return nil
}

// loadGPUs loads the parts for GPUs that lie beside the library. One whose driver
// is missing says so by log and finds no device. This runs drivers, so it is done
// only for a container that was granted a device, or to list what there is.
func (l *library) loadGPUs(log func(string)) {
	for _, kind := range gpuKinds {
		path := filepath.Join(l.dir(), "libggml-"+kind+".so")
		if _, err := os.Stat(path); err != nil {
			continue
		}
		if l.loadBackend(path) == 0 {
			log(fmt.Sprintf("%s could not be loaded: its driver is missing or finds no device", path))
		}
	}
}

// grants is what the granted nodes are to the library.
type grants struct {
	nodes    []string
	buses    map[string]bool // PCI addresses
	platform bool            // a GPU that is part of a chip, without such an address
	software bool
}

// readGrants finds the PCI addresses of the nodes: those of DRM in sysfs, those
// of NVIDIA in its driver's directory in procfs. A node of neither, such as
// /dev/nvidiactl or /dev/kfd, grants no GPU by itself.
func readGrants(g accel.Grants, sys, proc string) grants {
	known := grants{nodes: g.Nodes, buses: map[string]bool{}, software: g.Software && len(g.Nodes) > 0}
	for _, node := range g.Nodes {
		base := filepath.Base(node)
		if strings.HasPrefix(node, "/dev/dri/") {
			target, err := os.Readlink(filepath.Join(sys, "class/drm", base, "device"))
			if err != nil {
				continue
			}
			if bus := strings.ToLower(filepath.Base(target)); isBus(bus) {
				known.buses[bus] = true
			} else {
				known.platform = true
			}
		}
		if minor, ok := strings.CutPrefix(base, "nvidia"); ok {
			if bus := nvidiaBus(proc, minor); bus != "" {
				known.buses[bus] = true
			}
		}
	}
	return known
}

// isBus reports whether a name is a PCI address, as "0000:c1:00.0".
func isBus(name string) bool {
	var domain, bus, dev, function uint
	n, err := fmt.Sscanf(name, "%x:%x:%x.%x", &domain, &bus, &dev, &function)
	return err == nil && n == 4
}

// nvidiaBus finds the GPU whose node is /dev/nvidiaMINOR.
func nvidiaBus(proc, minor string) string {
	paths, _ := filepath.Glob(filepath.Join(proc, "driver/nvidia/gpus/*/information")) // the pattern is well-formed
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(content)) {
			key, value, _ := strings.Cut(line, ":")
			if strings.TrimSpace(key) == "Device Minor" && strings.TrimSpace(value) == minor {
				return strings.ToLower(filepath.Base(filepath.Dir(path)))
			}
		}
	}
	return ""
}

// allows reports whether a GPU is one that was granted.
func (g grants) allows(d device) bool {
	switch {
	case !d.GPU:
		return false
	case d.Software:
		return g.software
	case d.bus == "":
		return g.platform
	}
	return g.buses[d.bus]
}

// refusal says why no GPU can be used: what was granted and what was found.
func (g grants) refusal(found []device) string {
	granted := "none"
	if len(g.nodes) > 0 {
		granted = strings.Join(g.nodes, ", ")
	}
	var names []string
	for _, d := range found {
		if d.GPU {
			what := d.Name + " (" + d.Description
			if d.bus != "" {
				what += ", " + d.bus
			}
			if d.Software {
				what += ", software"
			}
			names = append(names, what+")")
		}
	}
	list := "none"
	if len(names) > 0 {
		list = strings.Join(names, ", ")
	}
	return fmt.Sprintf("no GPU to compute on: granted: %s; found by llama.cpp: %s", granted, list)
}
