package sandbox

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"
)

// Wasm is what a module has done so far, as far as its engine tells: a hostile
// guest that has taken over the engine can make up the two numbers, no more.
type Wasm struct {
	// Engine is the name of the engine that the container was created with.
	Engine string `json:"engine"`
	// MemoryBytes is the size of the linear memory, at the last host call or,
	// with some engines, now.
	MemoryBytes uint64 `json:"memory_bytes"`
	// HostCalls counts the module's calls of imported functions.
	HostCalls uint64 `json:"host_calls"`
}

// The engine keeps two numbers of 64 bits in the machine's byte order on a page
// of memory that it shares with whoever opens it: the host calls, then the size
// of the linear memory; pkg/aot's Counters.
const metricsSize = 16

// metricsSeals keep the page a page.
const metricsSeals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW

// metricsLabel starts the label by which a container's page is known again.
// Labels made of annotations have a "=", this one has none: so nobody else can
// write it, and neither `state` nor a hook takes it for an annotation.
const metricsLabel = "runw.wasm:"

// metrics is the page of a container that is being created.
type metrics struct {
	file  *os.File
	label string
}

func newMetrics(engine string) (_ *metrics, retErr error) {
	f, err := unnamedFile("runw-metrics")
	if err != nil {
		return nil, fmt.Errorf("memfd for metrics: %w", err)
	}
	defer func() {
		if retErr != nil {
			f.Close()
		}
	}()
	if err := f.Truncate(int64(os.Getpagesize())); err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, metricsSeals); err != nil {
		return nil, fmt.Errorf("seal the metrics: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	return &metrics{f, fmt.Sprintf("%s%s:%d:%d", metricsLabel, engine, st.Dev, st.Ino)}, nil
}

// parseMetricsLabel finds the engine and the page's identity, the device and
// inode of a memfd, among a container's labels.
func parseMetricsLabel(labels []string) (engine string, dev, ino uint64, ok bool) {
	for _, label := range labels {
		text, ours := strings.CutPrefix(label, metricsLabel)
		parts := strings.Split(text, ":")
		if !ours || strings.Contains(text, "=") || len(parts) != 3 {
			continue
		}
		dev, err := strconv.ParseUint(parts[1], 10, 64)
		if err != nil {
			continue
		}
		ino, err := strconv.ParseUint(parts[2], 10, 64)
		if err != nil {
			continue
		}
		return parts[0], dev, ino, true
	}
	return "", 0, 0, false
}

// wasmOf reads the page of a container whose program is a module, by the
// descriptor that its process holds; nil for any other container, and for a
// process that does not hold it any more. What is read was the container's own
// since create, whoever has its pid now.
func wasmOf(c *libcontainer.Container) (*Wasm, error) {
	config := c.Config()
	engine, dev, ino, ok := parseMetricsLabel(config.Labels)
	if !ok {
		return nil, nil
	}
	state, err := c.State()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join("/proc", strconv.Itoa(state.InitProcessPid), "fd")
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	for _, name := range names {
		path := filepath.Join(dir, name.Name())
		var st unix.Stat_t
		// Looked at before it is opened: to open some files is to do something.
		if unix.Stat(path, &st) != nil || st.Dev != dev || st.Ino != ino {
			continue
		}
		w, err := readMetrics(path, dev, ino)
		if err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
		w.Engine = engine
		return w, nil
	}
	return nil, nil
}

func readMetrics(path string, dev, ino uint64) (*Wasm, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	if st.Dev != dev || st.Ino != ino {
		return nil, fmt.Errorf("%s has become another file", path)
	}
	// Read, not mapped: whatever the file is, nothing of this process hangs on it.
	var page [metricsSize]byte
	if n, err := unix.Pread(fd, page[:], 0); err != nil {
		return nil, err
	} else if n != len(page) {
		return nil, fmt.Errorf("%d bytes, want %d", n, len(page))
	}
	return &Wasm{HostCalls: binary.NativeEndian.Uint64(page[:8]), MemoryBytes: binary.NativeEndian.Uint64(page[8:])}, nil
}
