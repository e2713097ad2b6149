// Package clients drives podman, containerd, dockerd and buildah, as Debian packages them,
// with runw below them: what a user types, and what a kubelet asks of containerd.
//
//	image ──▶ client ──▶ its monitor ──▶ bin/runw
//	(busybox,  (podman,    (conmon, the
//	 or one     ctr, CRI,   shim)
//	 .wasm)     docker, …)
//
// It is a module of its own, so that the Kubernetes API's Go modules are none of runw's.
// The whole run happens in namespaces of its own: when the test ends, each daemon, monitor,
// container, mount and network interface ends with it. What each client reads to find runw
// is in dropin/, and the tests use those files.
package clients
