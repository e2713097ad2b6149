package oci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Inside is a container that exists, as a process sees it that is to be executed
// in it.
type Inside struct {
	// Root is the root directory of the container's first process, with what is
	// mounted there now; an O_PATH descriptor will do.
	Root *os.File
	// Spec holds the process to be executed, validated, and the container's
	// annotations. Nothing else of it is looked at.
	Spec *specs.Spec
}

// tree has no mounts: they have been made, and the walk crosses them.
func (in *Inside) tree() *tree { return &tree{bundle: -1, root: int(in.Root.Fd())} }

// DetectIn is Detect for a process that is executed in a container. The magic
// bytes alone decide: an annotation that insists on Wasm is about the container's
// own entrypoint, not about a shell or a probe beside it. The one for the engine
// counts.
//
// A program that is not found is Native, and Why says where it was looked for.
// Errors: ErrUnknownHandler, and ErrModuleVersion inside an *EntrypointError.
func DetectIn(in *Inside) (*Workload, error) {
	var want request
	if sandboxNote(in.Spec.Annotations) == "" {
		asked, err := requested(in.Spec.Annotations)
		if err != nil {
			return nil, err
		}
		want.engine = asked.engine
	}
	f := &finder{walk: newWalk(in.tree()), process: in.Spec.Process}
	defer f.walk.close()

	name := in.Spec.Process.Args[0]
	c, err := f.find(name)
	if errors.Is(err, ErrNotFound) {
		return &Workload{Kind: Native, Why: f.nowhere(name)}, nil
	}
	if err != nil {
		return &Workload{Kind: Native, Why: "entrypoint: " + err.Error()}, nil
	}
	if err := c.check(want); err != nil {
		return nil, &EntrypointError{name, err}
	}
	return c.workload(want), nil
}

// nowhere says where name was looked for: an image built FROM scratch has not
// even the directories.
func (f *finder) nowhere(name string) string {
	list, _ := f.lookupEnv("PATH")
	if list == "" {
		return "the process has no PATH to find it in"
	}
	if dirs := filepath.SplitList(list); !f.anyDir(dirs) {
		return fmt.Sprintf("the container's image has no programs: none of the directories of PATH=%s exists in it", list)
	}
	return fmt.Sprintf("the container's image has no program %q in PATH=%s", name, list)
}

func (f *finder) anyDir(dirs []string) bool {
	for _, dir := range dirs {
		f.walk.toRoot()
		f.walk.links = 0
		if !strings.HasPrefix(dir, "/") {
			dir = filepath.Join(f.process.Cwd, dir)
		}
		if err := f.walk.to(dir, false); err == nil && f.walk.top().mode&unix.S_IFMT == unix.S_IFDIR {
			return true
		}
	}
	return false
}

// CheckPreopensIn is CheckPreopens for a process that is executed in a container.
func CheckPreopensIn(in *Inside, list []Preopen) error {
	if _, ok := in.Spec.Annotations[AnnotationPreopens]; !ok {
		return nil
	}
	return checkPreopens(in.tree(), list)
}
