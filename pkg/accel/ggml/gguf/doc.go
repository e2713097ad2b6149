// Package gguf checks GGUF files, the models of llama.cpp, before that library
// opens one, and makes small ones for tests and measurements.
//
//	"GGUF" │ version 3 │ tensors │ pairs │ key, type, value … │ name, dims, type, offset … │ padding │ data
//	       └────────────── header ───────┴───── metadata ─────┴──── tensor table ──────────┘         │
//	                                                                  offsets point into ────────────┘
//
//	check.go    Check: everything in a file lies inside it and is of a possible size
//	write.go    File: a file from pairs and tensors
//	models.go   Successor and Random: models whose output is known, or whose weight is
//
// mkgguf is the command that writes such a model.
//
// Where does my code go? Here, if it is about the bytes of a file, whoever reads
// them; what a model means to llama.cpp is pkg/accel/ggml's.
package gguf
