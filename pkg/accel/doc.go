// Package accel is inference for guests: what a model, a tensor and a device
// are, and what a backend does with them. It knows nothing of WebAssembly.
//
//	engine process (in the container)          runw-accel (beside it, see pkg/sandbox)
//	─────────────────────────────────          ────────────────────────────────────────
//	pkg/hostfuncs: nn.go                       supervisor: keeps one worker alive
//	      │ calls                                   │ starts
//	      ▼                                         ▼
//	wire.Client ── SOCK_SEQPACKET, one  ────▶  worker: wire.Serve
//	               request at a time                │ calls
//	            ══ shared memory: tensors ═══       ▼
//	                                           Backend ─┬─ ggml  (libllama)
//	                                                    └─ onnx  (libonnxruntime)
//
// The libraries are the host's, loaded at run time by purego, which makes a
// program dynamic: so the backends, pkg/accel/ggml and pkg/accel/onnx, are
// linked into cmd/runw-accel alone, and the static runw links this package and
// wire. A crash in a library ends the worker: the guest gets ErrRuntime for the
// call and the next load starts another worker.
//
// Where does my code go? Here, if both processes and each backend have to agree
// on it. Bytes between the processes are wire's, what one library needs is its
// backend's, guest memory is pkg/hostfuncs', namespaces and cgroups of the helper
// are pkg/sandbox's.
package accel
