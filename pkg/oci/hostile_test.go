package oci

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// choices turns fuzzer bytes into choices; when they run out it chooses 0.
type choices []byte

func (c *choices) n(max int) int {
	if len(*c) == 0 {
		return 0
	}
	v := int((*c)[0]) % max
	*c = (*c)[1:]
	return v
}

func (c *choices) of(list ...string) string { return list[c.n(len(list))] }

// rel is a short relative path of few names, so that paths meet often.
func (c *choices) rel(names ...string) string {
	parts := make([]string, 1+c.n(4))
	for i := range parts {
		parts[i] = c.of(names...)
	}
	return strings.Join(parts, "/")
}

func (c *choices) inside() string { return c.rel("a", "b", "c") }

// target is what a hostile link points to, HOST being the test's directory.
func (c *choices) target(host string) string {
	switch c.n(5) {
	case 0:
		return "/" + c.rel("a", "b", "c", "..", ".", "")
	case 1:
		return host + c.of("/secret/", "/host/", "/rootfs/") + c.inside()
	case 2:
		return "../../../../../../../../../../../.." + host + "/secret/" + c.inside()
	case 3:
		return "/proc/self/" + c.of("cwd", "root", "exe", "fd/0", "fd/3", "root"+host+"/secret/a")
	}
	return c.rel("a", "b", "c", "..", ".", "")
}

// hostileBundle builds a bundle in dir: a rootfs, and a directory "host" for bind
// mounts, both full of links, fifos and modules; beside them "secret", full of
// modules that no container may reach.
func hostileBundle(t testing.TB, dir string, c *choices) *Bundle {
	t.Helper()
	plant(t, dir, "rootfs/", "host/", "secret/a=@wasm", "secret/b/a=@wasm", "secret/b/b=@wasm", "secret/c=@wasm")
	spec := &specs.Spec{
		Root:    &specs.Root{Path: "rootfs"},
		Process: &specs.Process{Cwd: "/"},
		Linux:   &specs.Linux{},
	}
	for range min(len(*c), 32) {
		side := c.of("rootfs", "rootfs", "host")
		switch c.n(16) {
		default:
			plantBeneath(t, dir+"/"+side, c)
		case 1, 2, 3, 4:
			plantLink(t, dir+"/"+side, c.inside(), c.target(dir))
		case 5:
			spec.Mounts = append(spec.Mounts, bindFrom(c))
		case 6:
			spec.Mounts = append(spec.Mounts, specs.Mount{Destination: "/" + c.rel("a", "b", "c", ".."), Type: "tmpfs", Source: "tmpfs"})
		case 7:
			spec.Linux.MaskedPaths = append(spec.Linux.MaskedPaths, "/"+c.inside())
		}
	}
	if c.n(3) == 1 {
		spec.Process.Cwd = "/" + c.inside()
	}
	spec.Process.Args = []string{c.of("/", "/", "./") + c.rel("a", "b", "c", "..", ".")}
	return &Bundle{Dir: dir, Spec: spec}
}

func bindFrom(c *choices) specs.Mount {
	source := "host"
	if c.n(2) == 1 {
		source += "/" + c.inside()
	}
	return specs.Mount{Destination: "/" + c.rel("a", "b", "c", ".."), Source: source, Options: []string{c.of("bind", "rbind")}}
}

// plantBeneath makes a file in root. os.Root keeps the links planted before from
// leading it out; what cannot be made is left out.
func plantBeneath(t testing.TB, root string, c *choices) {
	r, err := os.OpenRoot(root)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	name := c.inside()
	_ = r.MkdirAll(filepath.Dir(name), 0o755)
	switch c.n(4) {
	case 0, 1:
		// O_EXCL: the name may be a fifo by now.
		if f, err := r.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644); err == nil {
			_, _ = f.WriteString(contents.Replace("@wasm"))
			f.Close()
		}
	case 2:
		_ = r.Mkdir(name, 0o755)
	case 3:
		if d, err := r.Open("."); err == nil {
			_ = unix.Mkfifoat(int(d.Fd()), filepath.Base(name), 0o644)
			d.Close()
		}
	}
}

func plantLink(t testing.TB, root, name, target string) {
	r, err := os.OpenRoot(root)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	_ = r.MkdirAll(filepath.Dir(name), 0o755)
	_ = r.Symlink(target, name)
}

// Values with NUL bytes are fine if a later entry replaces them; looking for that
// entry from each of them took minutes.
func TestEnvironmentTakesLinearTime(t *testing.T) {
	const keys = 100_000
	env := make([]string, 2*keys)
	for i := range keys {
		key := "K" + strconv.Itoa(i) + "="
		env[i], env[keys+i] = key+"\x00", key
	}
	begin := time.Now()
	if err := checkEnv(&specs.Spec{Process: &specs.Process{Env: env}}); err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("%d entries took %v", len(env), took)
	}
}
