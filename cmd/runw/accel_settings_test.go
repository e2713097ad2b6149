package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestReadAccelConfig(t *testing.T) {
	rows := []struct {
		name, content string
		mode          os.FileMode
		dirs          []string
		helper        string
		software      bool
		want          string // of the error
	}{
		{name: "empty", content: "{}", mode: 0o644, dirs: defaultLibraryDirs()},
		{name: "all", content: `{"library_dirs":["/a","/b"],"helper":"/c","software_gpu":true}`, mode: 0o600, dirs: []string{"/a", "/b"}, helper: "/c", software: true},
		{name: "unknown key", content: `{"libraries":[]}`, mode: 0o644, want: `unknown field "libraries"`},
		{name: "no JSON", content: `library_dirs=/a`, mode: 0o644, want: "invalid character"},
		{name: "relative", content: `{"library_dirs":["a"]}`, mode: 0o644, want: `"a" is not an absolute path`},
		{name: "writable", content: `{}`, mode: 0o666, want: "others than root could change it"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "accel.json")
			if err := errors.Join(os.WriteFile(path, []byte(row.content), 0o600), os.Chmod(path, row.mode)); err != nil {
				t.Fatal(err)
			}
			s, err := readAccelConfig(path)
			if row.want != "" {
				if err == nil || !strings.Contains(err.Error(), row.want) {
					t.Errorf("error %v, want %q", err, row.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(s.LibraryDirs, row.dirs) || s.Helper != row.helper || s.SoftwareGPU != row.software {
				t.Errorf("%+v", s)
			}
		})
	}
	s, err := readAccelConfig(filepath.Join(t.TempDir(), "absent"))
	if err != nil || !slices.Equal(s.LibraryDirs, defaultLibraryDirs()) {
		t.Errorf("without a file: %+v, %v", s, err)
	}
}

func TestCheckOwned(t *testing.T) {
	dir := t.TempDir()
	make := func(name string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(path, 0o755), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := make("good", 0o755)
	below := make("open/below", 0o755)
	make("open", 0o777)
	sticky := make("sticky/below", 0o755)
	make("sticky", 0o777|os.ModeSticky)
	link := filepath.Join(dir, "link")
	if err := os.Symlink(below, link); err != nil {
		t.Fatal(err)
	}
	other := make("other", 0o755)
	rows := []struct {
		name, path string
		want       error
	}{
		{"good", good, nil},
		{"writable", filepath.Join(dir, "open"), errUnsafe},
		{"below a writable one", below, errUnsafe},
		{"below a sticky one", sticky, nil},
		{"sticky itself", filepath.Join(dir, "sticky"), errUnsafe},
		{"a link's target", link, errUnsafe},
		{"absent", filepath.Join(dir, "absent"), os.ErrNotExist},
	}
	for _, row := range rows {
		if err := checkOwned(row.path); !errors.Is(err, row.want) || row.want == nil && err != nil {
			t.Errorf("%s: %v, want %v", row.name, err, row.want)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: files of others")
	}
	if err := os.Chown(other, 1234, 1234); err != nil {
		t.Fatal(err)
	}
	if err := checkOwned(other); !errors.Is(err, errUnsafe) {
		t.Errorf("somebody else's: %v", err)
	}
}
