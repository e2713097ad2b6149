package aot

import (
	"errors"
	"os"
	"reflect"
	"unsafe"

	"github.com/tetratelabs/wazero"
	"golang.org/x/sys/unix"
)

// errCacheSeam means that wazero changed: see RATIONALE.md.
var errCacheSeam = errors.New("wazero's compilation cache has another shape than this package knows")

// newWazeroCache makes a wazero compilation cache whose file cache is c. wazero
// offers a directory only; the field behind it is an unexported interface of
// plain types, which c satisfies. Every assumption is checked here, and
// TestWazeroCacheSeam fails when an upgrade of wazero breaks one.
func newWazeroCache(c *wazeroCache) (wazero.CompilationCache, error) {
	cache := wazero.NewCompilationCache()
	v := reflect.ValueOf(cache)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return nil, errCacheSeam
	}
	field := v.Elem().FieldByName("fileCache")
	if !field.IsValid() || field.Kind() != reflect.Interface || !reflect.TypeOf(c).Implements(field.Type()) {
		return nil, errCacheSeam
	}
	reflect.NewAt(field.Type(), unsafe.Pointer(field.UnsafeAddr())).Elem().Set(reflect.ValueOf(c))
	return cache, nil
}

// mapOver replaces the memory of p, whole pages of a private anonymous mapping,
// by a private mapping of the file's bytes from offset on. Nothing is copied,
// and processes share the pages until they are written to. The end of p and of
// the file's bytes may lie within a page. It reports whether it did; if not, p
// has its contents lost but is readable and writable.
func mapOver(p []byte, f *os.File, offset int64, prot, flags uintptr) bool {
	page := uintptr(os.Getpagesize())
	addr := uintptr(unsafe.Pointer(unsafe.SliceData(p)))
	if len(p) == 0 || addr%page != 0 || uintptr(offset)%page != 0 {
		return false
	}
	flags |= unix.MAP_PRIVATE | unix.MAP_FIXED
	_, _, errno := unix.Syscall6(unix.SYS_MMAP, addr, uintptr(len(p)), prot, flags, f.Fd(), uintptr(offset))
	if errno == 0 {
		return true
	}
	// A failed MAP_FIXED may have unmapped what was there (mmap(2), Notes).
	const anon = unix.MAP_PRIVATE | unix.MAP_FIXED | unix.MAP_ANON
	_, _, errno = unix.Syscall6(unix.SYS_MMAP, addr, uintptr(len(p)), unix.PROT_READ|unix.PROT_WRITE, anon, ^uintptr(0), 0)
	if errno != 0 {
		panic(errno) // p may be a hole; nothing that holds it can go on
	}
	return false
}
