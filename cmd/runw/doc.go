// Command runw is an OCI container runtime that takes runc's place and runs
// WebAssembly modules beside Linux programs.
//
//	argv[1]    process                        file
//	─────────  ─────────────────────────────  ──────────────────────────────
//	(command)  the caller's: podman, a shim   main.go, one file a command
//	init       a container's new process      init_linux.go, then libcontainer
//	compile    native code's maker, no rights compile.go
//	accel-…    inference's, until runw-accel  accel_guest.go, pkg/sandbox
//	engine     the same pid after its execve  engine.go, signals.go
//
// A command parses its flags into an Args struct and makes one call; what a
// Wasm container, or an exec of a module, needs beyond that is put together in
// guest.go. report.go is
// the only place that prints errors and picks exit codes.
//
// Where does my code go? Here, if it joins packages or reads flags. Anything
// that could be tested without a command line belongs into a package.
package main
