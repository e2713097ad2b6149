// Package wire is how a guest's calls reach the process that computes: between
// the engine in the container and a worker of runw-accel beside it.
//
//	engine                     supervisor                  worker
//	──────                     ──────────                  ──────
//	Client ── "a worker" ────▶ Supervise
//	       ◀─ socket, segment ──── │ ── Spawn(socket, segment) ──▶ Serve
//	       ── request, model files ──────────────────────────────▶  │ Backend
//	       ◀─ errno, value, lines for stderr ─────────────────────  │
//	       ══════ segment: dims, data, config, output ═══════════
//
// Both sockets are SOCK_SEQPACKET, so that a message comes whole or not at all.
// There is one message at a time, for a guest has one thread: a request, or the
// inputs of a context and compute. What is large travels in the segment, a memfd
// of fixed size that both sides map, and models as descriptors, so that their
// pages are shared with all who map the same file.
//
// A worker that dies ends its socket: the Client answers ErrRuntime, all handles
// of that worker are void, and the next load asks for another. The engine numbers
// graphs and contexts itself, upwards, so no number ever comes back, not with
// another worker either.
//
// Neither side trusts the other: the engine runs what a guest made of it, the
// worker what a model made of a library. Each message has one form that the
// decoders accept; a peer that sends another is left.
//
// Where does my code go? message.go has the bytes, socket.go and segment.go what
// carries them; client.go and inputs.go are the engine's side, supervise.go and
// serve.go are runw-accel's. What a model or a tensor means is a backend's.
package wire
