package oci

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseProcess(t *testing.T) {
	for _, row := range []struct{ doc, err string }{
		{`{"cwd":"/","args":["true"]}`, ""},
		{`{"cwd":"/","args":["true"],"nonsense":1} trailing`, ""},
		{"", "empty file"},
		{"null", "process property must not be empty"},
		{"{", "1:1: unexpected EOF"},
		{"\n{]", "2:2: invalid character"},
		{`{"args":["x"]}`, "cwd: Cwd property must not be empty"},
		{`{"cwd":"tmp","args":["x"]}`, `cwd: Cwd must be an absolute path, got "tmp"`},
		{`{"cwd":"/"}`, "args: args must not be empty"},
		{`{"cwd":"/","args":["a","b\u0000"]}`, "args[1]: contains a NUL byte"},
		{`{"cwd":"/","args":["a"],"env":["A=1","B"]}`, "env[1]: invalid environment variable: missing '='"},
		{`{"cwd":"/","args":["a"],"rlimits":[{"type":"RLIMIT_X"}]}`, "rlimits[0].type: wrong rlimit value: RLIMIT_X"},
		{`{"cwd":"/","args":7}`, "args: expected"},
	} {
		p, err := ParseProcess(strings.NewReader(row.doc))
		switch {
		case row.err == "":
			if err != nil || p == nil || p.Args[0] != "true" {
				t.Errorf("%s: %+v, %v", row.doc, p, err)
			}
		case err == nil || p != nil || !strings.HasPrefix(err.Error(), row.err):
			t.Errorf("%q: %+v, error %v, want %q first", row.doc, p, err, row.err)
		}
	}
	long := strings.NewReader(`{"cwd":"/","args":["true"]}` + strings.Repeat(" ", MaxSpecSize))
	if _, err := ParseProcess(long); !errors.Is(err, ErrSpecTooLarge) {
		t.Errorf("more than MaxSpecSize bytes: %v", err)
	}
}

func TestLoadProcess(t *testing.T) {
	dir := t.TempDir()
	if _, err := LoadProcess(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no config.json: %v", err)
	}
	if _, err := LoadProcess(filepath.Join(dir, "absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no bundle: %v", err)
	}
	// The root filesystem need not be there any more.
	if err := os.WriteFile(filepath.Join(dir, SpecFile), []byte(minimal), 0o600); err != nil {
		t.Fatal(err)
	}
	if p, err := LoadProcess(dir); err != nil || len(p.Args) == 0 {
		t.Errorf("%+v, %v", p, err)
	}
}

// FuzzParseProcess: no input panics, and what is accepted can be executed.
func FuzzParseProcess(f *testing.F) {
	for _, s := range []string{
		"", "null", "{", `{"cwd":"/","args":["a"]}`, `{"cwd":"/","args":["a"],"env":["A=\u0000","A=1","=","B"]}`,
		`{"cwd":"/","args":["\u0000"],"user":{"uid":-1},"rlimits":[{}]}`, `{"terminal":1}`, `[{}]`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ParseProcess(bytes.NewReader(data))
		switch {
		case err != nil && (p != nil || err.Error() == ""):
			t.Errorf("%+v with error %q", p, err)
		case err == nil && (len(p.Args) == 0 || p.Cwd[0] != '/' || ValidateProcess(p) != nil):
			t.Errorf("accepted %s", data)
		}
	})
}
