// Package oci reads OCI bundles and decides what a container runs.
//
//	config.json ──Load──▶ Bundle ──Detect──▶ Workload ──▶ native: libcontainer execs args[0]
//	               │                 │                └──▶ module: an engine gets Workload.Module
//	           Validate        tree: rootfs + mounts
//	        (names the field)   walk: one component
//	                            at a time, in the tree
//
//	process.json ──ParseProcess──▶ Inside ──DetectIn──▶ Workload of an exec; the tree is
//	                                                    the running container's root
//
// The package is pure: it looks at files and changes none, starts nothing, mounts
// nothing, and knows neither libcontainer nor an engine. Bundle and config.json may
// be hostile, and so may the tree below the rootfs: no path of theirs is handed to
// the kernel as a whole, and nothing but a regular file is opened.
//
// Where does my code go? Here if it needs nothing but config.json and a look at
// the rootfs; to pkg/sandbox if it changes the host or needs libcontainer; to
// pkg/aot if it looks at a module beyond its first eight bytes.
package oci
