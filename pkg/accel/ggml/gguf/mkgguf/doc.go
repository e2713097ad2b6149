// Command mkgguf writes a model for tests or measurements: see gguf.Successor and
// gguf.Random.
//
//	go run ./pkg/accel/ggml/gguf/mkgguf -o model.gguf              # "abc" goes on with "def…"
//	go run ./pkg/accel/ggml/gguf/mkgguf -random -o large.gguf      # 76 MB, a measurable weight
package main
