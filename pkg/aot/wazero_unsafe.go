package aot

import (
	"errors"
	"reflect"
	"unsafe"

	"github.com/tetratelabs/wazero"
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
