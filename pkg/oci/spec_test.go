package oci

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const minimal = `{"ociVersion":"1.3.0","process":{"args":["/a"],"cwd":"/"},"root":{"path":"rootfs"}}`

func TestLoad(t *testing.T) {
	dir := hostDir(t)
	plant(t, dir, "rootfs/", "b/config.json="+minimal, "b/rootfs/", "link->b")
	t.Chdir(filepath.Join(dir, "b"))
	for _, row := range []struct{ arg, dir string }{
		{"", dir + "/b"},
		{".", dir + "/b"},
		{"../b", dir + "/b"},
		{"../link", dir + "/b"},         // ".." makes it the kernel's path
		{dir + "/link", dir + "/link"},  // kept as given
		{dir + "/link/", dir + "/link"}, // but clean
	} {
		b, err := Load(row.arg)
		if err != nil {
			t.Errorf("%q: %v", row.arg, err)
			continue
		}
		if b.Dir != row.dir || b.Spec.Process.Args[0] != "/a" {
			t.Errorf("%q: got %+v, want dir %s", row.arg, b, row.dir)
		}
	}
	if cwd, err := os.Getwd(); err != nil || cwd != dir+"/b" {
		t.Errorf("working directory is now %s, %v", cwd, err)
	}
}

// TestLoadDotDotAfterLink: chdir("link/..") is the parent of link's target.
func TestLoadDotDotAfterLink(t *testing.T) {
	dir := hostDir(t)
	plant(t, dir, "real/config.json="+minimal, "real/rootfs/", "real/sub/", "link->real/sub")
	b, err := Load(dir + "/link/..")
	if err != nil || b.Dir != dir+"/real" {
		t.Errorf("got %+v, %v", b, err)
	}
}

func TestLoadErrors(t *testing.T) {
	spec := func(root string) string {
		return "config.json=" + strings.Replace(minimal, `"rootfs"`, root, 1)
	}
	for _, row := range []struct {
		name string
		tree []string
		err  string
		is   error
	}{
		{"none", nil, "JSON specification file config.json not found", fs.ErrNotExist},
		{"dangling link", []string{"config.json->x"}, "JSON specification file config.json not found", fs.ErrNotExist},
		{"link loop", []string{"config.json->config.json"}, "open config.json: too many levels of symbolic links", unix.ELOOP},
		{"directory", []string{"config.json/"}, "config.json: not a regular file but a directory", nil},
		{"fifo", []string{"config.json|fifo"}, "config.json: not a regular file but a fifo", nil},
		{"link to a fifo", []string{"x|fifo", "config.json->x"}, "config.json: not a regular file but a fifo", nil},
		{"socket", []string{"config.json|socket"}, "open config.json: no such device or address", nil},
		{"empty", []string{"config.json="}, "config.json: empty file", nil},
		{"not JSON", []string{"config.json={\n\t\"root\": }"}, "config.json: 2:10: invalid character '}' looking for beginning of value", nil},
		{"field", []string{"config.json={}"}, "config.json: process: process property must not be empty", nil},
		{"no rootfs", []string{spec(`"rootfs"`)}, "config.json: root.path: open rootfs: no such file or directory", fs.ErrNotExist},
		{"rootfs is a file", []string{spec(`"rootfs"`), "rootfs=x"}, "config.json: root.path: rootfs is not a directory but a regular file", nil},
		{"rootfs is a fifo", []string{spec(`"./x//y"`), "x/y|fifo"}, "config.json: root.path: ./x//y is not a directory but a fifo", nil},
		{"absolute rootfs", []string{spec(`"/nonexistent/rootfs"`)}, "config.json: root.path: open /nonexistent/rootfs: no such file or directory", fs.ErrNotExist},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := t.TempDir()
			plant(t, dir, row.tree...)
			before := openFiles(t)
			done := make(chan error, 1)
			go func() {
				_, err := Load(dir)
				done <- err
			}()
			select {
			case err := <-done:
				if err == nil || err.Error() != row.err {
					t.Errorf("error %v\nwant  %s", err, row.err)
				}
				if row.is != nil && !errors.Is(err, row.is) {
					t.Errorf("%v is not %v", err, row.is)
				}
			case <-time.After(10 * time.Second):
				t.Fatal("hangs")
			}
			if after := openFiles(t); after != before {
				t.Errorf("%d descriptors before, %d after", before, after)
			}
		})
	}
}

func TestLoadNoBundle(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, "file=x")
	for _, name := range []string{"gone", "file", "gone/../x"} {
		if _, err := Load(dir + "/" + name); err == nil || !strings.HasPrefix(err.Error(), "bundle: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLoadTooLarge(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, "config.json="+minimal, "rootfs/")
	if err := os.Truncate(dir+"/config.json", MaxSpecSize+1); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); !errors.Is(err, ErrSpecTooLarge) || err.Error() != "config.json: larger than 16777216 bytes" {
		t.Errorf("Load: %v", err)
	}
	long := strings.NewReader(minimal + strings.Repeat(" ", MaxSpecSize))
	if _, err := ParseSpec(long); !errors.Is(err, ErrSpecTooLarge) {
		t.Errorf("ParseSpec: %v", err)
	}
	exact := strings.NewReader(minimal + strings.Repeat(" ", MaxSpecSize-len(minimal)))
	if _, err := ParseSpec(exact); err != nil {
		t.Errorf("ParseSpec of MaxSpecSize bytes: %v", err)
	}
}

// with sets one field, given by its JSON path, in the minimal document.
func with(t *testing.T, value string, keys ...string) string {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal([]byte(minimal), &doc); err != nil {
		t.Fatal(err)
	}
	at := doc
	for _, k := range keys[:len(keys)-1] {
		if at[k] == nil {
			at[k] = map[string]any{}
		}
		at = at[k].(map[string]any)
	}
	at[keys[len(keys)-1]] = json.RawMessage(value)
	out, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestParseSpecErrors(t *testing.T) {
	for _, row := range []struct{ doc, err string }{
		{"", "empty file"},
		{" \n ", "empty file"},
		{"null", "config cannot be null"},
		{"[]", "expected object, got array (line 1)"},
		{"7", "expected object, got number (line 1)"},
		{"{", "1:1: unexpected EOF"},
		{"{\n  \"process\": {\n", "2:15: unexpected EOF"},
		{"{\n  'root': 1}", "2:3: invalid character '\\'' looking for beginning of object key string"},
		{"{\"a\":1,}", "1:8: invalid character '}' looking for beginning of object key string"},
		{"\ufeff{}", "1:1: invalid character 'ï' looking for beginning of value"},

		{with(t, "5", "process", "args"), "process.args: expected array of strings, got number (line 1)"},
		{with(t, `"x"`, "process", "args"), "process.args: expected array of strings, got string (line 1)"},
		{with(t, `{"a":1}`, "process", "args"), "process.args: expected array of strings, got object (line 1)"},
		{with(t, `["x",7]`, "process", "args"), "process.args[1]: expected string, got number (line 1)"},
		{with(t, `["A=b",{},"C=d"]`, "process", "env"), "process.env[1]: expected string, got object (line 1)"},
		{with(t, `"yes"`, "process", "terminal"), "process.terminal: expected boolean, got string (line 1)"},
		{with(t, `-1`, "process", "user", "uid"), "process.user.uid: expected non-negative integer of 32 bits, got number -1 (line 1)"},
		{with(t, `1.5`, "process", "oomScoreAdj"), "process.oomScoreAdj: expected integer of 64 bits, got number 1.5 (line 1)"},
		{with(t, `[{"destination":"/a"},{"destination":"/b","options":["ro",true]}]`, "mounts"), "mounts[1].options[1]: expected string, got boolean (line 1)"},
		{with(t, `[[]]`, "mounts"), "mounts[0]: expected object, got array (line 1)"},
		{with(t, `{"run.oci.handler":1}`, "annotations"), `annotations["run.oci.handler"]: expected string, got number (line 1)`},
		{with(t, `{"pids":{"limit":"x"}}`, "linux", "resources"), "linux.resources.pids.limit: expected integer of 64 bits, got string (line 1)"},
		{"{\n \"root\": {\n  \"path\": false\n }\n}", "root.path: expected string, got boolean (line 3)"},

		{`{}`, "process: process property must not be empty"},
		{with(t, `{"args":["a"]}`, "process"), "process.cwd: Cwd property must not be empty"},
		{with(t, `"tmp"`, "process", "cwd"), `process.cwd: Cwd must be an absolute path, got "tmp"`},
		{with(t, `"/\u0000"`, "process", "cwd"), "process.cwd: contains a NUL byte"},
		{with(t, `[]`, "process", "args"), "process.args: args must not be empty"},
		{with(t, `null`, "process", "args"), "process.args: args must not be empty"},
		{with(t, `["a","b\u0000c"]`, "process", "args"), "process.args[1]: contains a NUL byte"},
		{with(t, `["A=1","B"]`, "process", "env"), `process.env[1]: invalid environment variable: missing '=' in "B"`},
		{with(t, `["=1"]`, "process", "env"), `process.env[0]: invalid environment variable: name cannot be empty in "=1"`},
		{with(t, `["A=1","B=x\u0000"]`, "process", "env"), `process.env[1]: invalid environment variable "B": contains nul byte (\x00)`},
		{with(t, `[{"type":"RLIMIT_NOFILE"},{"type":"NOFILE"}]`, "process", "rlimits"), "process.rlimits[1].type: wrong rlimit value: NOFILE"},
		{with(t, `null`, "root"), "root: root must be specified"},
		{with(t, `"a\u0000"`, "root", "path"), "root.path: contains a NUL byte"},
		{with(t, `[{"destination":"/a"},{"destination":"/\u0000"}]`, "mounts"), "mounts[1].destination: contains a NUL byte"},
		{with(t, `[{"destination":"/a","source":"\u0000"}]`, "mounts"), "mounts[0].source: contains a NUL byte"},
		{with(t, `[{"destination":"/a","type":"\u0000"}]`, "mounts"), "mounts[0].type: contains a NUL byte"},
		{with(t, `[{"type":"pid"},{"type":"xyz"}]`, "linux", "namespaces"), `linux.namespaces[1].type: namespace "xyz" does not exist`},
		{with(t, `[{"type":"pid"},{"type":"pid","path":"/x"}]`, "linux", "namespaces"), `linux.namespaces[1].type: malformed spec file: duplicated ns "pid"`},
	} {
		_, err := ParseSpec(strings.NewReader(row.doc))
		if err == nil || err.Error() != row.err {
			t.Errorf("%s\nerror %v\nwant  %s", row.doc, err, row.err)
		}
	}
}

// TestParseSpecAccepts has what runc accepts, or leaves to libcontainer.
func TestParseSpecAccepts(t *testing.T) {
	for _, doc := range []string{
		minimal,
		minimal + "\nnot part of the document",
		with(t, `"0.1.0-old"`, "ociVersion"),
		with(t, `""`, "ociVersion"),
		with(t, `1`, "unknownField"),
		with(t, `""`, "root", "path"),
		with(t, `"/../../x"`, "process", "cwd"),
		with(t, `["",""]`, "process", "args"),
		with(t, `["A=","A=1","B==","C=a=b"]`, "process", "env"),
		with(t, `["A=\u0000","A=1"]`, "process", "env"),
		with(t, `[{"type":"RLIMIT_CPU","soft":2,"hard":1},{"type":"RLIMIT_CPU"}]`, "process", "rlimits"),
		with(t, `{"bounding":["CAP_UNHEARD_OF"]}`, "process", "capabilities"),
		with(t, `[{"destination":"relative"},{"destination":""},{"destination":"/"},{"destination":"/"}]`, "mounts"),
		with(t, `"box"`, "hostname"),
		with(t, `{"a":""}`, "annotations"),
		with(t, `[{"type":"time"},{"type":"cgroup"},{"type":"user"},{"type":"uts"},{"type":"ipc"},{"type":"mount"},{"type":"network"},{"type":"pid"}]`, "linux", "namespaces"),
		strings.Replace(minimal, `"process"`, `"PROCESS"`, 1),
	} {
		if _, err := ParseSpec(strings.NewReader(doc)); err != nil {
			t.Errorf("%s: %v", doc, err)
		}
	}
}

func TestFieldError(t *testing.T) {
	_, err := ParseSpec(strings.NewReader(with(t, `[]`, "process", "args")))
	var field *FieldError
	if !errors.As(err, &field) || field.Field != "process.args" {
		t.Errorf("%v is no *FieldError of process.args", err)
	}
}
