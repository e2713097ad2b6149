package ggml

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// ErrNoLibrary is what Open's error wraps if there is no libllama to load.
var ErrNoLibrary = errors.New("libllama.so not found")

// findLibrary gives the path of libllama in the first directory that has one.
// Builds carry a version or a kind of GPU in the file's name: libllama.so,
// libllama.so.0, libllama.v0.5.0.so, libllama.vulkan.v0.5.0.so. Of several in one
// directory the plain name wins, then with gpu the name of a build for one.
func findLibrary(dirs []string, gpu bool) (string, error) {
	for _, dir := range dirs {
		var found []string
		for _, pattern := range []string{"libllama.so", "libllama.so.*", "libllama.*.so", "libllama.*.so.*"} {
			matches, err := filepath.Glob(filepath.Join(dir, pattern))
			if err != nil {
				return "", fmt.Errorf("library directory %q: %w", dir, err)
			}
			slices.SortFunc(matches, func(a, b string) int {
				if x, y := named(a) == gpu, named(b) == gpu; x != y {
					if x {
						return -1
					}
					return 1
				}
				return strings.Compare(a, b)
			})
			found = append(found, matches...)
		}
		for _, path := range found {
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
				return path, nil
			}
		}
	}
	where := "no directory (none is set)"
	if len(dirs) > 0 {
		where = strings.Join(dirs, ", ")
	}
	return "", fmt.Errorf("%w in %s (set --accel-lib-dir, RUNW_ACCEL_LIBS or library_dirs in /etc/runw/accel.json)", ErrNoLibrary, where)
}

// named reports whether a library's name says that it is built for a GPU.
func named(path string) bool {
	name := filepath.Base(path)
	return slices.ContainsFunc(gpuKinds, func(kind string) bool { return strings.Contains(name, "."+kind) })
}

// gpuKinds are the libraries beside libllama that drive a GPU: libggml-NAME.so.
var gpuKinds = []string{"cuda", "hip", "musa", "sycl", "vulkan", "opencl", "cann"}
