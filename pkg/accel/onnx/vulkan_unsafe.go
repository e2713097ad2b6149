package onnx

import (
	"bytes"
	"fmt"
	"unsafe"

	"github.com/ebitengine/purego"
)

// vulkanDevice is a device as Vulkan tells it.
type vulkanDevice struct {
	name     string
	software bool
}

// vulkanLoader is what WebGPU loads, too.
const vulkanLoader = "libvulkan.so.1"

// vulkanDevices asks Vulkan what there is, for ONNX Runtime does not say what its
// WebGPU would compute on: it may be the CPU.
func vulkanDevices() ([]vulkanDevice, error) {
	handle, err := purego.Dlopen(vulkanLoader, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, err
	}
	var functions [4]uintptr
	for i, name := range []string{"vkCreateInstance", "vkDestroyInstance", "vkEnumeratePhysicalDevices", "vkGetPhysicalDeviceProperties"} {
		if functions[i], err = purego.Dlsym(handle, name); err != nil {
			return nil, err
		}
	}
	create, destroy, enumerate, properties := functions[0], functions[1], functions[2], functions[3]

	// VkInstanceCreateInfo: its type, 1, and nothing else.
	info := [8]uint64{1}
	var instance uintptr
	if code, _, _ := purego.SyscallN(create, uintptr(unsafe.Pointer(&info[0])), 0, uintptr(unsafe.Pointer(&instance))); int32(code) != 0 {
		const incompatibleDriver = -9
		if int32(code) == incompatibleDriver {
			return nil, nil // what the loader says without any driver
		}
		return nil, fmt.Errorf("vkCreateInstance: error %d", int32(code))
	}
	defer purego.SyscallN(destroy, instance, 0)

	var devices [64]uintptr
	count := uint32(len(devices))
	const incomplete = 5 // more than 64
	if code, _, _ := purego.SyscallN(enumerate, instance, uintptr(unsafe.Pointer(&count)), uintptr(unsafe.Pointer(&devices[0]))); code != 0 && code != incomplete {
		return nil, fmt.Errorf("vkEnumeratePhysicalDevices: error %d", int32(code))
	}
	var list []vulkanDevice
	for _, device := range devices[:min(int(count), len(devices))] {
		// VkPhysicalDeviceProperties has 824 bytes: four numbers, the kind, the name.
		p := new([4096]byte)
		purego.SyscallN(properties, device, uintptr(unsafe.Pointer(p)))
		const cpu = 4
		list = append(list, vulkanDevice{
			name:     oneLine(string(p[20 : 20+max(0, bytes.IndexByte(p[20:20+256], 0))])),
			software: *(*uint32)(unsafe.Pointer(&p[16])) == cpu,
		})
	}
	return list, nil
}
