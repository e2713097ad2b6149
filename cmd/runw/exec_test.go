package main

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// A failure of exec has a code that is no process's.
func TestExecFailureCode(t *testing.T) {
	for id, want := range map[string]string{
		"c1": `runw: container "c1": exec: container does not exist`,
		"":   `runw: container "": exec: container id cannot be empty`,
	} {
		code, _, stderr := runCLI(t, "exec", id, "true")
		if code != 255 || stderr != want+"\n" {
			t.Errorf("%q: exit code %d, stderr %q, want %q", id, code, stderr, want)
		}
	}
	err := &codeError{255, onContainer("c1", "exec", os.ErrPermission)}
	if !errors.Is(err, os.ErrPermission) || err.Error() != `container "c1": exec: permission denied` {
		t.Errorf("%v", err)
	}
}

func TestSetUser(t *testing.T) {
	before := specs.User{UID: 1, GID: 2, AdditionalGids: []uint32{3}}
	cases := []struct {
		user   string
		groups []int64
		want   specs.User
		fault  string
	}{
		{"", nil, before, ""},
		{"7", nil, specs.User{UID: 7, GID: 2, AdditionalGids: []uint32{3}}, ""},
		{"7:8", []int64{9, 10}, specs.User{UID: 7, GID: 8, AdditionalGids: []uint32{3, 9, 10}}, ""},
		{"root", nil, before, "bad uid: "},
		{"-1", nil, before, "bad uid: "},
		{"4294967296", nil, before, "bad uid: "},
		{"1:", nil, before, "bad gid: "},
		{"1:2:3", nil, before, "bad gid: "},
		{"", []int64{-1}, before, "additional-gids must be a positive number -1"},
		{"", []int64{1 << 32}, before, "4294967296 is no gid"},
	}
	for _, c := range cases {
		got := before
		err := setUser(&got, c.user, c.groups)
		switch {
		case c.fault != "":
			if err == nil || !strings.Contains(err.Error(), c.fault) {
				t.Errorf("%q %v: error is %v, want %q in it", c.user, c.groups, err, c.fault)
			}
		case err != nil || !reflect.DeepEqual(got, c.want):
			t.Errorf("%q %v: %+v, %v; want %+v", c.user, c.groups, got, err, c.want)
		}
	}
}

func TestSubCgroups(t *testing.T) {
	cases := []struct {
		args  []string
		want  map[string]string
		fault string
	}{
		{nil, nil, ""},
		{[]string{"/sub"}, map[string]string{"": "/sub"}, ""},
		{[]string{"cpu,cpuacct:/a", "memory:b"}, map[string]string{"cpu": "/a", "cpuacct": "/a", "memory": "b"}, ""},
		{[]string{"a", "b"}, nil, "a (missing <controller>: prefix)"},
		{[]string{"cpu:a", "b"}, nil, "b (missing <controller>: prefix)"},
		{[]string{"cpu,:a"}, nil, "empty <controller> prefix"},
		{[]string{":a"}, nil, "empty <controller> prefix"},
		{[]string{"cpu:a", "memory,cpu:b"}, nil, "controller cpu specified multiple times"},
	}
	for _, c := range cases {
		got, err := subCgroups(c.args)
		if (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%q: error is %v, want %q", c.args, err, c.fault)
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: %v, want %v", c.args, got, c.want)
		}
	}
}

func TestAddCapabilities(t *testing.T) {
	none := &specs.Process{}
	addCapabilities(none, nil)
	if none.Capabilities != nil {
		t.Errorf("nothing was asked for: %+v", none.Capabilities)
	}
	addCapabilities(none, []string{"CAP_KILL"})
	if k := none.Capabilities; k == nil || len(k.Bounding) != 1 || len(k.Effective) != 1 || len(k.Permitted) != 1 || k.Ambient != nil || k.Inheritable != nil {
		t.Errorf("without capabilities before: %+v", k)
	}
	some := &specs.Process{Capabilities: &specs.LinuxCapabilities{Inheritable: []string{"CAP_CHOWN"}}}
	addCapabilities(some, []string{"CAP_KILL"})
	if k := some.Capabilities; !reflect.DeepEqual(k.Ambient, []string{"CAP_KILL"}) || len(k.Inheritable) != 1 {
		t.Errorf("with inheritable ones: %+v", k)
	}
}

func TestReadProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "process.json")
	if _, err := readProcess(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	if err := os.WriteFile(path, []byte(`{"cwd":"/","args":["true"],"env":["A"]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readProcess(path); err == nil || !strings.HasPrefix(err.Error(), path+": env[0]: ") {
		t.Errorf("bad file: %v", err)
	}
}
