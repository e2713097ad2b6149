package onnx

import (
	"encoding/json"
	"runtime"
)

// config is the metadata that a guest can give with a model, as JSON. Other keys
// are ignored, as WasmEdge ignores them; a wrong type is an error.
type config struct {
	// IntraThreads compute one operation together, InterThreads operations that
	// do not wait for each other; 0 is all processors that the container has, and
	// one.
	IntraThreads int `json:"intra-op-threads"`
	InterThreads int `json:"inter-op-threads"`
	// Prepack, true if it is not there, lets the library keep weights in a second
	// form that multiplies faster. Without it, all containers that use a file
	// share the memory of its weights.
	Prepack *bool `json:"prepack"`
	// Provider chooses among those that the granted devices allow: "cuda",
	// "tensorrt", "rocm", "migraphx", "webgpu".
	Provider string `json:"provider"`
}

func parseConfig(b []byte) (config, error) {
	var c config
	if len(b) > 0 {
		if err := json.Unmarshal(b, &c); err != nil {
			return c, invalid("metadata: %w", err)
		}
	}
	if c.IntraThreads < 0 || c.InterThreads < 0 {
		return c, invalid("metadata: a negative number of threads")
	}
	// Go counts the processors that the affinity and the quota of the cgroup
	// allow; more threads would only wait for each other.
	most := runtime.GOMAXPROCS(0)
	if c.IntraThreads == 0 || c.IntraThreads > most {
		c.IntraThreads = most
	}
	c.InterThreads = min(max(c.InterThreads, 1), most)
	return c, nil
}
