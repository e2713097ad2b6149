package hostfuncs

import (
	"errors"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/runw/runw/pkg/hostfuncs/abi"
	"golang.org/x/sys/unix"
)

// witx is every function of WASI snapshot 1 with its WebAssembly type, written
// down from the specification (phases/snapshot/witx/wasi_snapshot_preview1.witx
// and its later sock_accept). All but proc_exit result in an errno.
var witx = map[string]string{
	"args_get":                "ii",
	"args_sizes_get":          "ii",
	"clock_res_get":           "ii",
	"clock_time_get":          "iIi",
	"environ_get":             "ii",
	"environ_sizes_get":       "ii",
	"fd_advise":               "iIIi",
	"fd_allocate":             "iII",
	"fd_close":                "i",
	"fd_datasync":             "i",
	"fd_fdstat_get":           "ii",
	"fd_fdstat_set_flags":     "ii",
	"fd_fdstat_set_rights":    "iII",
	"fd_filestat_get":         "ii",
	"fd_filestat_set_size":    "iI",
	"fd_filestat_set_times":   "iIIi",
	"fd_pread":                "iiiIi",
	"fd_prestat_dir_name":     "iii",
	"fd_prestat_get":          "ii",
	"fd_pwrite":               "iiiIi",
	"fd_read":                 "iiii",
	"fd_readdir":              "iiiIi",
	"fd_renumber":             "ii",
	"fd_seek":                 "iIii",
	"fd_sync":                 "i",
	"fd_tell":                 "ii",
	"fd_write":                "iiii",
	"path_create_directory":   "iii",
	"path_filestat_get":       "iiiii",
	"path_filestat_set_times": "iiiiIIi",
	"path_link":               "iiiiiii",
	"path_open":               "iiiiiIIii",
	"path_readlink":           "iiiiii",
	"path_remove_directory":   "iii",
	"path_rename":             "iiiiii",
	"path_symlink":            "iiiii",
	"path_unlink_file":        "iii",
	"poll_oneoff":             "iiii",
	"proc_exit":               "i",
	"proc_raise":              "i",
	"random_get":              "ii",
	"sched_yield":             "",
	"sock_accept":             "iii",
	"sock_recv":               "iiiiii",
	"sock_send":               "iiiii",
	"sock_shutdown":           "ii",
}

// witxImport is the import of one function of the specification.
func witxImport(name string) abi.Import {
	results := "i"
	if name == "proc_exit" {
		results = ""
	}
	return abi.Import{Module: preview1, Name: name, Sig: abi.Signature{
		Params: valueTypes(witx[name]), Results: valueTypes(results),
	}}
}

func TestPreview1IsComplete(t *testing.T) {
	if len(witx) != 46 {
		t.Fatalf("the list has %d functions, the specification 46", len(witx))
	}
	for name := range witx {
		if err := Check([]abi.Import{witxImport(name)}); err != nil {
			t.Error(err)
		}
	}
	for _, family := range families {
		for _, f := range family {
			if _, ok := witx[f.name]; f.module == preview1 && !ok && !isWasmedge(f) {
				t.Errorf("%s.%s is in no specification", f.module, f.name)
			}
			if n := count(f.call != nil, f.nn != nil, f.end != nil); n != 1 {
				t.Errorf("%s.%s: %d of call, nn and end, want one", f.module, f.name, n)
			}
			names := strings.Split(f.names, ",")
			if f.params == "" {
				names = nil
			}
			if len(names) != len(f.params) {
				t.Errorf("%s.%s has %d parameters and trace names %q", f.module, f.name, len(f.params), f.names)
			}
		}
	}
}

func count(list ...bool) (n int) {
	for _, v := range list {
		if v {
			n++
		}
	}
	return n
}

// isWasmedge says that f is in the list of WasmEdge's functions.
func isWasmedge(f function) bool {
	return slices.ContainsFunc(wasmedge[:], func(w wasmedgeFunction) bool { return w.name == f.name && w.params == f.params })
}

// TestDocListsFunctions keeps the package's documentation complete.
func TestDocListsFunctions(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	listed := strings.Fields(string(doc))
	for name := range witx {
		if !slices.Contains(listed, name) {
			t.Errorf("doc.go does not list %s", name)
		}
	}
	for _, f := range wasmedge {
		if !slices.Contains(listed, f.name) {
			t.Errorf("doc.go does not list %s", f.name)
		}
	}
	for _, f := range nnFunctions {
		if !slices.Contains(listed, f.name) {
			t.Errorf("doc.go does not list %s", f.name)
		}
	}
}

// TestNoMemory calls everything on behalf of a module without a memory, with
// null pointers and with wild ones.
func TestNoMemory(t *testing.T) {
	g := newGuest(t, Config{Args: []string{"app"}, Env: []string{"A=b"}, Preopens: []Preopen{{Name: "/", Path: t.TempDir()}}})
	g.mem = nil
	g.raise = func(unix.Signal) error { return nil }
	for name, params := range witx {
		for _, v := range []uint64{0, 1, 3, math.MaxUint64} {
			args := slices.Repeat([]uint64{v}, len(params))
			n, err := g.invoke(name, args...)
			// What needs no memory may work: fd_close(3), sched_yield().
			ok := !strings.ContainsAny(params, "i") || len(params) == 1 || name == "fd_renumber" ||
				name == "fd_fdstat_set_flags" || name == "fd_fdstat_set_rights" || name == "random_get" && v == 0
			if err == nil && Errno(n) == errnoSuccess && !ok {
				t.Errorf("%s(%d, …) succeeds", name, v)
			}
			if err != nil && name != "proc_exit" && name != "proc_raise" {
				t.Errorf("%s(%d, …): %v", name, v, err)
			}
		}
	}
}

func TestUnknownImport(t *testing.T) {
	i32 := []abi.ValueType{abi.I32}
	for _, c := range []struct {
		name string
		im   abi.Import
		want string
	}{
		{"module", abi.Import{Module: "env", Name: "foo", Sig: abi.Signature{Params: i32}},
			"unknown import: env.foo (i32)->"},
		{"name", abi.Import{Module: preview1, Name: "fd_dup", Sig: abi.Signature{Params: i32, Results: i32}},
			"unknown import: wasi_snapshot_preview1.fd_dup (i32)->i32"},
		{"type", abi.Import{Module: preview1, Name: "sched_yield", Sig: abi.Signature{Params: []abi.ValueType{abi.F64}, Results: i32}},
			"unknown import: wasi_snapshot_preview1.sched_yield has type ()->i32, not (f64)->i32"},
		{"same length", abi.Import{Module: preview1, Name: "proc_raise", Sig: abi.Signature{Params: []abi.ValueType{abi.I64}, Results: i32}},
			"unknown import: wasi_snapshot_preview1.proc_raise has type (i32)->i32, not (i64)->i32"},
		{"snapshot 0", abi.Import{Module: "wasi_unstable", Name: "proc_exit", Sig: abi.Signature{Params: i32}},
			"unknown import: wasi_unstable.proc_exit (i32)->: WASI snapshot 0 is not supported, build the module for wasi_snapshot_preview1"},
		{"component", abi.Import{Module: "wasi:cli/exit@0.2.0", Name: "exit", Sig: abi.Signature{Params: i32}},
			"unknown import: wasi:cli/exit@0.2.0.exit (i32)->: a component's import in a core module"},
	} {
		t.Run(c.name, func(t *testing.T) {
			imports := []abi.Import{witxImport("sched_yield"), c.im}
			err := Check(imports)
			if !errors.Is(err, ErrUnknownImport) || err.Error() != c.want {
				t.Errorf("Check: %v\nwant: %s", err, c.want)
			}
			if _, linkErr := newGuest(t, Config{}).Link(imports); linkErr == nil || linkErr.Error() != err.Error() {
				t.Errorf("Link says %v, Check %v", linkErr, err)
			}
		})
	}
}

func BenchmarkCheck(b *testing.B) {
	var imports []abi.Import
	for name := range witx {
		imports = append(imports, witxImport(name))
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := Check(imports); err != nil {
			b.Fatal(err)
		}
	}
}
