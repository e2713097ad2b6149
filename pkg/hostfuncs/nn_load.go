package hostfuncs

import (
	"errors"
	"strconv"
	"strings"

	"github.com/runw/runw/pkg/accel"
	"github.com/runw/runw/pkg/hostfuncs/abi"
	"golang.org/x/sys/unix"
)

const (
	// builderSize is the size of a builder's record: pointer and length.
	builderSize = 8
	// maxBuilders: the model, and its configuration as JSON.
	maxBuilders = 2
	// maxModelName bounds what is compared with the names of models.
	maxModelName = 4096
)

// preloadPrefix begins a builder that is not the model but its path.
const preloadPrefix = "preload:"

const modelSeals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE

func (h *Host) nnLoad(mem abi.Memory, p []uint64) accel.Errno {
	if errno := nnResult(mem, p[4]); errno != 0 {
		return errno
	}
	count, encoding, target := uint32(p[1]), accel.Encoding(uint32(p[2])), accel.Target(uint32(p[3]))
	switch {
	case count == 0 || count > maxBuilders:
		return h.nn.refuse("load", strconv.FormatUint(uint64(count), 10)+" builders; want the model, and perhaps its configuration", accel.ErrInvalidArgument)
	case target > accel.TargetAuto:
		return h.nn.refuse("load", "an unknown target", accel.ErrInvalidArgument)
	case encoding == accel.EncodingAutodetect:
		return h.nn.refuse("load", "the encoding is not detected: say GGML or ONNX", accel.ErrInvalidEncoding)
	}
	var parts [maxBuilders][]byte
	for i := range count {
		at := uint64(uint32(p[0])) + uint64(i)*builderSize
		if at+builderSize > uint64(len(mem)) {
			return accel.ErrInvalidArgument
		}
		ptr, _ := mem.Uint32(uint32(at))
		n, _ := mem.Uint32(uint32(at) + 4)
		part, ok := mem.Bytes(ptr, n)
		if !ok {
			return accel.ErrInvalidArgument
		}
		parts[i] = part
	}
	if h.nn.Inference == nil {
		return h.nn.none("load")
	}
	fd, errno := h.nnModel(parts[0])
	if errno != 0 {
		return errno
	}
	defer unix.Close(fd)
	graph, errno := h.nn.Inference.Load([]int{fd}, parts[1], encoding, target)
	if errno == 0 {
		mem.PutUint32(uint32(p[4]), graph)
	}
	return errno
}

func (n *neural) none(function string) accel.Errno {
	return n.refuse(function, "there is no process for inference", accel.ErrUnsupportedOperation)
}

func (h *Host) nnLoadByName(mem abi.Memory, p []uint64) accel.Errno {
	return h.nnLoadNamed(mem, "load_by_name", p[0], p[1], nil, p[2])
}

func (h *Host) nnLoadByNameWithConfig(mem abi.Memory, p []uint64) accel.Errno {
	if mem == nil {
		return accel.ErrMissingMemory
	}
	config, ok := mem.Bytes(uint32(p[2]), uint32(p[3]))
	if !ok {
		return accel.ErrInvalidArgument
	}
	return h.nnLoadNamed(mem, "load_by_name_with_config", p[0], p[1], config, p[4])
}

// nnLoadNamed gives the graph that the name was loaded as before, whatever config
// says, as WasmEdge does, or loads it.
func (h *Host) nnLoadNamed(mem abi.Memory, function string, ptr, n uint64, config []byte, out uint64) accel.Errno {
	if errno := nnResult(mem, out); errno != 0 {
		return errno
	}
	b, ok := mem.Bytes(uint32(ptr), uint32(n))
	if !ok || len(b) > maxModelName {
		return accel.ErrInvalidArgument
	}
	name := string(b)
	if h.nn.Inference == nil {
		return h.nn.none(function)
	}
	if graph, ok := h.nn.named[name]; ok && h.nn.Inference.Alive(graph) {
		mem.PutUint32(uint32(out), graph)
		return 0
	}
	m := h.nn.model(name)
	if m == nil {
		return h.nn.refuse(function, "no model is named "+strconv.Quote(name)+" (WASMEDGE_WASINN_PRELOAD, run.runw.nn-preload)", accel.ErrNotFound)
	}
	fd, errno := h.openModel(m.Path)
	if errno != errnoSuccess {
		return h.nn.refuse(function, m.Name+": open "+m.Path+": "+errno.String(), modelErrno(errno))
	}
	defer unix.Close(fd)
	graph, code := h.nn.Inference.Load([]int{fd}, config, m.Encoding, m.Target)
	if code != 0 {
		return code
	}
	if h.nn.named == nil {
		h.nn.named = map[string]uint32{}
	}
	h.nn.named[name] = graph
	mem.PutUint32(uint32(out), graph)
	return 0
}

func (n *neural) model(name string) *NNModel {
	for i := range n.Models {
		if n.Models[i].Name == name {
			return &n.Models[i]
		}
	}
	return nil
}

func modelErrno(errno Errno) accel.Errno {
	if errno == errnoNoent || errno == errnoNotdir {
		return accel.ErrModelNotFound
	}
	return accel.ErrInvalidArgument
}

// nnModel is a descriptor of the model that a builder holds or names.
func (h *Host) nnModel(builder []byte) (int, accel.Errno) {
	path, ok := strings.CutPrefix(string(builder[:min(len(builder), len(preloadPrefix)+unix.PathMax)]), preloadPrefix)
	if !ok {
		fd, err := modelMemory(builder)
		if err != nil {
			return -1, h.nn.refuse("load", "memory for the model: "+err.Error(), accel.ErrTooLarge)
		}
		return fd, 0
	}
	fd, errno := h.openGuestModel(path)
	if errno != errnoSuccess {
		return -1, h.nn.refuse("load", "open "+strconv.Quote(path)+": "+errno.String(), modelErrno(errno))
	}
	return fd, 0
}

// modelMemory makes a file of what the guest has in its memory, sealed so that
// nobody changes it while a library has it mapped.
func modelMemory(b []byte) (fd int, err error) {
	const name = "runw-model"
	fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // MFD_NOEXEC_SEAL came with Linux 6.3.
		fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return -1, err
	}
	for len(b) > 0 && (err == nil || err == unix.EINTR) {
		var n int
		if n, err = unix.Write(fd, b); n > 0 {
			b = b[n:]
		}
	}
	if err == nil || err == unix.EINTR {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, modelSeals)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// openGuestModel opens a file that the guest could open itself for reading.
func (h *Host) openGuestModel(path string) (int, Errno) {
	switch {
	case path == "":
		return -1, errnoNoent
	case len(path) >= unix.PathMax:
		return -1, errnoNametoolong
	case strings.IndexByte(path, 0) >= 0:
		return -1, errnoInval
	}
	dir, rest, errno := h.preopenOf(path)
	switch {
	case errno != errnoSuccess:
		return -1, errno
	case !dir.can(rightPathOpen) || dir.inheriting&rightFdRead == 0:
		return -1, errnoNotcapable
	case rest == "":
		return -1, errnoIsdir
	}
	return h.openRegular(dir, rest)
}

// openModel opens a file that whoever configured the container has named. The
// engine is inside, and resolves what is there, with the rules for the guest's
// own paths.
func (h *Host) openModel(path string) (int, Errno) {
	root, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, errnoOf(err)
	}
	defer unix.Close(root)
	rest := strings.TrimLeft(path, "/")
	if rest == "" {
		return -1, errnoIsdir
	}
	return h.openRegular(&entry{fd: root, kind: filetypeDir, rooted: true}, rest)
}

// openRegular opens for reading what is to be mapped. Without O_NONBLOCK a pipe
// would wait for its writer.
func (h *Host) openRegular(dir *entry, path string) (int, Errno) {
	l := lookup{dir: dir, path: path, flags: unix.O_RDONLY | unix.O_NONBLOCK}
	fd, errno := h.open(&l)
	switch {
	case errno != errnoSuccess:
		return -1, errno
	case l.alias != nil:
		return -1, errnoInval
	}
	switch l.st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return fd, errnoSuccess
	case unix.S_IFDIR:
		errno = errnoIsdir
	default:
		errno = errnoInval
	}
	_ = unix.Close(fd)
	return -1, errno
}
