//go:build wasmtime

package aot

// linked lists the engines of this binary, best first.
func linked() []engine { return []engine{&wasmtimeEngine{}, &wazeroEngine{}} }
