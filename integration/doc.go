// Package integration drives a runtime's binary from outside, as podman and containerd do:
// real bundles, real guests, real namespaces and cgroups.
//
//	guests ──▶ bundle ──▶ box ──▶ RUNTIME create|start|run|kill|delete …
//	(C, Go,    (rootfs,    (one container: its id, cgroup, files)
//	 Rust,      config)     └── afterwards: mounts, cgroups, state, processes
//	 WAT)                       and files are compared with before
//
// The rows that need no Wasm run on any OCI runtime: RUNTIME=runc and RUNTIME=crun test the
// tests. Without RUNTIME the binary is bin/runw, which `make build` makes.
//
// Where does my row go? What a container manager calls: lifecycle_test.go; what streams in
// and out: stdio_test.go; what config.json says about the sandbox: sandbox_test.go and
// limits_test.go, cgroup2_test.go for cgroup v2, systemd_test.go and delegation_test.go (`make
// vm` has a machine for these three); what must be refused: reject_test.go and escape_test.go; what the
// repository itself has to keep: house_test.go.
package integration
