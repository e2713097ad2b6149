// Package sandbox creates, starts, signals and removes containers. It is the
// only package that imports libcontainer: everything config.json can say about
// a Linux sandbox is libcontainer's work, for a Wasm container as for a native
// one. What this package adds is the program libcontainer executes at the end.
//
//	runw create                  runw init (libcontainer)         same pid
//	──────────────────────       ─────────────────────────        ───────────────────────
//	Runtime.Create               namespaces, mounts, cgroup,      native: the user's program
//	  └ Guest? handoff memfd ──▶ user, caps, seccomp; waits  ──▶  Wasm:   /proc/self/exe engine
//	                             on exec.fifo                             └ ReadHandoff
//	Runtime.Start ─────────────▶ (opens the fifo)
//
//	runw exec                    runw init (libcontainer)         same pid
//	Runtime.Target, Root         joins namespaces and cgroup;
//	Target.Exec                  user, caps, seccomp           ──▶  as above
//	  └ Guest? handoff memfd ──▶
//
// What compiles a module is a process of its own (worker_linux.go), in the
// container's cgroup and without any right:
//
//	runw create, runw exec       runw compile
//	──────────────────────       ───────────────────────────────────
//	Worker.Run: job, output ───▶ waits for its order
//	  └ cgroup, order ─────────▶ empty root, user, no caps, seccomp (worker_linux.c, before Go)
//	                             └ ReadWork, compiles, writes output
//	waits for its end            ends
//
// A module that asks for inference has a process beside it (accel_linux.go) that
// talks to the engine over a socket and ends with it:
//
//	runw create, runw exec       runw accel-helper (accel_linux.c, before Go)
//	──────────────────────       ────────────────────────────────────────────
//	Accel: order, socket ──────▶ waits for its order
//	  └ cgroup, order ─────────▶ pid and user namespace of the container, a view of its own,
//	                             user, no caps, seccomp; executes runw-accel
//	waits for "ready" ◀───────── serves the engine
//
// A Wasm container's init ends in an execve of runw itself, which inside
// `runw init` is libcontainer's sealed copy of the binary. The engine gets an
// empty environment and finds what it has to run in the handoff.
//
// Where does my code go? Here, if it needs a container's process, cgroup,
// namespace, terminal or state directory. What counts as Wasm is pkg/oci's
// business, how a module is compiled and run pkg/aot's, what it may import
// pkg/hostfuncs'.
package sandbox
