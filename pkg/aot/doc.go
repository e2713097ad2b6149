// Package aot turns WebAssembly modules into native code ahead of time, keeps
// the code, and runs it. It is the only package that knows an engine.
//
//	parent (runw create)                     engine process (in the container)
//	────────────────────                     ─────────────────────────────────
//	Witness, Recall ─ known by its file?
//	Inspect ─ what does it import?
//	Ensure ─┬─ store: <dir>/<engine fingerprint>/<sha256>
//	        ├─ not there: lock, compile, publish
//	        └─▶ Artifact.File ──── one fd ──▶ Open ─▶ Module ─▶ Run
//	            (never a directory)           │        ▲
//	                                          │        └─ []abi.Func, bound per import
//	                                          └─ does not fit: Warn, compile in memory
//
// Behind the seam (the interface engine in engine.go) stand wasmtime, through its
// C API and with the build tag "wasmtime", and wazero. An engine
// makes an artifact of parts from a module and opens a module from an artifact;
// the store and the file format know nothing else about it.
//
// # The engine process
//
// A guest of wasmtime runs in a call out of Go and disturbs nothing. A guest of
// wazero is native code that the Go scheduler cannot stop. While it runs,
// Run keeps GOMAXPROCS at two or more and automatic garbage collection off, and
// collects at host calls instead, so that other goroutines (signal handling)
// go on under a guest that loops forever. A process that calls Run must not
// call runtime.GC, runtime.ReadMemStats, debug.SetGCPercent or anything else
// that stops the world from another goroutine meanwhile.
//
// # Where does my code go?
//
// What a section of a module means: inspect.go and preflight.go. The artifact
// file: artifact.go. Who may write to the store, and locking: dir.go and
// store.go. What is kept, for how long, and in what state: list.go, prune.go,
// verify.go, usage.go. By what a module is known without reading it: identity.go,
// witness.go, keys.go. How an engine is configured, loaded or called: wasmtime*.go (the C
// side: wasmtime.c; what is built: wasmtime/ and .ci/wasmtime), wazero*.go.
// Another engine: files of its own and a line in linked*.go. What a guest can
// import: not here, see pkg/hostfuncs.
package aot
