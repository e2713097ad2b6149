// Package ggml computes language models with llama.cpp: an accel.Backend on the
// library libllama, loaded at run time by purego and called by WasmEdge's
// conventions for GGML.
//
//	accel.Backend             accel.Graph              accel.Context
//	backend.go: Backend ────▶ graph.go: graph ───────▶ execution.go: execution
//	  │ Open                    │ file, options          │ inputs, outputs, options
//	  ▼                         ▼                        ▼
//	find.go       which .so   model.go: model          generate.go  a token: prompt, KV memory, step
//	functions.go  its symbols   │ checkFile            embed.go     an embedding
//	params.go     its structs   ▼                      sampler.go   which token is next
//	devices.go    its devices  gguf.Check              options.go, keys.go, schema.go  metadata
//	log.go        its log                              abort.go     how a call ends early
//	pool.go       its threads
//	────────────────────────────────────────────────────────────────────────────────
//	libllama.so ─ libggml.so ─ libggml-base.so ─┬ libggml-cpu-*.so   best of them
//	                                            └ libggml-vulkan.so, -cuda, -hip …   with a GPU granted
//
// Inputs are the prompt (0) and metadata as JSON (1), outputs the text or the
// embedding (0) and counters (1). Only pkg/accel's rules bind this package to its
// caller: one goroutine, in a process that may crash. The library is C++ that
// reads files of strangers: gguf.Check sees them first, and what is left, an
// assertion or worse, ends the worker that this runs in.
//
// Where does my code go? A key of the metadata is a line in keys.go and a field
// in options.go. A function of the library is a line in functions.go, a field of
// its structs an offset in params.go with the default that proves it. The bytes
// of model files are gguf's.
package ggml
