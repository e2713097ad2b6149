package sandbox

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseMetricsLabel(t *testing.T) {
	cases := []struct {
		name   string
		labels []string
		engine string
		ino    uint64
	}{
		{"none", nil, "", 0},
		{"others", []string{"bundle=/b", "a=b"}, "", 0},
		{"ours", []string{"bundle=/b", "runw.wasm:wazero:1:77"}, "wazero", 77},
		{"an annotation of that name", []string{"runw.wasm:wazero:1:77=", "runw.wasm:=wazero:1:77"}, "", 0},
		{"an annotation before ours", []string{"runw.wasm:x:1:2=x", "runw.wasm:wasmtime:1:77"}, "wasmtime", 77},
		{"cut short", []string{"runw.wasm:", "runw.wasm:wazero", "runw.wasm:wazero:1", "runw.wasm:wazero:1:"}, "", 0},
		{"no numbers", []string{"runw.wasm:wazero:-1:7", "runw.wasm:wazero:1:x", "runw.wasm:wazero:1:99999999999999999999"}, "", 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			engine, _, ino, ok := parseMetricsLabel(c.labels)
			if engine != c.engine || ino != c.ino || ok != (c.engine != "") {
				t.Errorf("got %q, %d, %t", engine, ino, ok)
			}
		})
	}
}

// The page is known by what it is, whatever another process has put in its place.
func TestMetricsPage(t *testing.T) {
	m, err := newMetrics("wazero")
	if err != nil {
		t.Fatal(err)
	}
	defer m.file.Close()
	for _, size := range []int64{0, 1 << 20} {
		if err := m.file.Truncate(size); err == nil {
			t.Errorf("the page can have %d bytes", size)
		}
	}
	engine, dev, ino, ok := parseMetricsLabel([]string{m.label})
	if !ok || engine != "wazero" {
		t.Fatalf("label %q", m.label)
	}
	var page [metricsSize]byte
	binary.NativeEndian.PutUint64(page[:8], 12)
	binary.NativeEndian.PutUint64(page[8:], 1<<40)
	if _, err := m.file.WriteAt(page[:], 0); err != nil {
		t.Fatal(err)
	}
	w, err := readMetrics(fmt.Sprintf("/proc/self/fd/%d", m.file.Fd()), dev, ino)
	if err != nil || w.HostCalls != 12 || w.MemoryBytes != 1<<40 {
		t.Errorf("read %+v, %v", w, err)
	}

	dir := t.TempDir()
	plain, fifo, short := filepath.Join(dir, "plain"), filepath.Join(dir, "fifo"), filepath.Join(dir, "short")
	for path, content := range map[string]string{plain: strings.Repeat("x", 4096), short: "short"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{plain, fifo, filepath.Join(dir, "nosuch")} {
		if w, err := readMetrics(path, dev, ino); err == nil {
			t.Errorf("%s was read: %+v", path, w)
		}
	}
	var st unix.Stat_t
	if err := unix.Stat(short, &st); err != nil {
		t.Fatal(err)
	}
	if w, err := readMetrics(short, st.Dev, st.Ino); err == nil {
		t.Errorf("5 bytes were read: %+v", w)
	}
}
