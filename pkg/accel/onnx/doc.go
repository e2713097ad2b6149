// Package onnx is inference on ONNX Runtime: WASI-NN's encoding 1.
//
//	Model.Files[0] ──mmap──▶ mapping ──split──▶ rest: a copy without the large weights
//	                            │                 │ inspect: no file, no descriptor, no
//	                            │                 ▼ address outside of the model
//	                 weights, where they are ──▶ session of libonnxruntime ◀── provider:
//	                 (tensors on the mapping)      ▲        │                  CPU, or a
//	                                 SetInput: copy in      Compute            granted GPU
//	                                                        ▼
//	                                              Output: copy out
//
// The library is the host's, found in accel.Options.LibraryDirs and called by its
// table of functions (library_unsafe.go) through purego: no header, no C compiler.
// All unsafe code is there. Inputs and outputs are numbered in the model's order.
//
// Metadata, as JSON: "intra-op-threads", "inter-op-threads" (at most the
// container's processors), "provider" (which of those that the granted devices
// allow), "prepack" (false: share the weights' memory, compute slower).
//
// Where does my code go? What a guest's tensor may be: tensor.go. What a model may
// hold: inspect.go; which of its weights stay in the file: weights.go. Another kind
// of GPU: a line in provider.go. A function of the library: an entry and a method
// in library_unsafe.go. A model for tests: package model below.
package onnx
