package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/runw/runw/integration/bundle"
	"github.com/runw/runw/integration/guests"
)

// server is a container that serves on loopback.
type server struct {
	b       *bench
	title   string
	id      string
	pid     int
	address string
	wasm    bool
}

func (s *server) index() int {
	if s.wasm {
		return 0
	}
	return 1
}

// container makes a bundle of the guest. Modules and programs get the same container, in the
// network namespace of the caller.
func (b *bench) container(guest string, wasm bool, args ...string) (made *bundle.Bundle, id string, err error) {
	b.number++
	id = fmt.Sprint("net", b.number)
	dir := filepath.Join(b.dir, "bundle-"+id)
	if wasm {
		module, err := guests.Build("c/" + guest)
		if err != nil {
			return nil, "", err
		}
		if made, err = bundle.Wasm(dir, module, args...); err != nil {
			return nil, "", err
		}
	} else {
		program, err := guests.BuildNative(guest)
		if err != nil {
			return nil, "", err
		}
		if made, err = bundle.Native(dir, append([]string{"/program"}, args...)...); err != nil {
			return nil, "", err
		}
		if err := made.Add(program, "program", 0o755); err != nil {
			return nil, "", err
		}
	}
	namespaces := made.Spec.Linux.Namespaces[:0]
	for _, ns := range made.Spec.Linux.Namespaces {
		if ns.Type != specs.NetworkNamespace {
			namespaces = append(namespaces, ns)
		}
	}
	made.Spec.Linux.Namespaces = namespaces
	made.Spec.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Hard: 20000, Soft: 20000}}
	// What else runs on the machine weighs less than what is measured, module or program.
	shares := uint64(1 << 18)
	made.Spec.Linux.Resources.CPU = &specs.LinuxCPU{Shares: &shares}
	made.Spec.Linux.CgroupsPath = fmt.Sprintf("/runw-benchnet-%d-%s", os.Getpid(), id)
	return made, id, made.Write()
}

func (b *bench) command(args ...string) *exec.Cmd {
	global := []string{"--root", filepath.Join(b.dir, "state")}
	if b.engine != "" {
		global = append(global, "--engine", b.engine)
	}
	cmd := exec.Command(b.runw, append(global, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "RUNW_AOT_DIR=" + filepath.Join(b.dir, "aot")}
	return cmd
}

// serve starts the guest on a free port and waits until it listens.
func (b *bench) serve(guest string, wasm bool) (*server, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	made, id, err := b.container(guest, wasm, address)
	if err != nil {
		return nil, err
	}
	s := &server{b: b, title: "native", id: id, address: address, wasm: wasm}
	if wasm {
		s.title = "module"
	}
	output, err := os.OpenFile(filepath.Join(b.dir, id+".out"), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	defer output.Close()
	pidFile := filepath.Join(b.dir, id+".pid")
	cmd := b.command("run", "--detach", "--bundle", made.Dir, "--pid-file", pidFile, id)
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(output.Name())
		return nil, fmt.Errorf("%w: %s", err, text)
	}
	content, err := os.ReadFile(pidFile)
	if err != nil {
		return nil, err
	}
	if s.pid, err = strconv.Atoi(strings.TrimSpace(string(content))); err != nil {
		return nil, err
	}
	for range 1000 {
		if text, _ := os.ReadFile(output.Name()); bytes.Contains(text, []byte("listening")) {
			return s, nil
		}
		time.Sleep(5 * time.Millisecond)
	}
	return nil, errors.Join(errors.New("the server does not come up"), s.close())
}

// freeAddress finds a port of 127.0.0.1 that nobody has now.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func (s *server) close() error {
	err := s.b.command("delete", "--force", s.id).Run()
	_, _ = unix.Wait4(s.pid, nil, 0, nil)
	return err
}

// load is what wrk says, times in microseconds, and the server's processor time for each
// request.
type load struct{ rate, cpu, mean, p50, p99 float64 }

func (s *server) wrk(connections int, d time.Duration) (load, error) {
	before, err := s.cpu()
	if err != nil {
		return load{}, err
	}
	out, err := exec.Command("nice", "-n", "-19", "wrk", "-t1", fmt.Sprintf("-c%d", connections), fmt.Sprintf("-d%ds", int(d.Seconds())),
		"--latency", "http://"+s.address+"/").CombinedOutput()
	if err != nil {
		return load{}, fmt.Errorf("wrk: %w: %s", err, out)
	}
	after, err := s.cpu()
	if err != nil {
		return load{}, err
	}
	var l load
	var requests float64
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		switch {
		case len(fields) < 2:
		case fields[0] == "Latency" && len(fields) == 5:
			l.mean = microseconds(fields[1])
		case fields[0] == "50%":
			l.p50 = microseconds(fields[1])
		case fields[0] == "99%":
			l.p99 = microseconds(fields[1])
		case fields[1] == "requests":
			requests, _ = strconv.ParseFloat(fields[0], 64)
		case fields[0] == "Requests/sec:":
			l.rate, _ = strconv.ParseFloat(fields[1], 64)
		case fields[0] == "Socket" && fields[1] == "errors:", strings.HasPrefix(fields[0], "Non-2xx"):
			return load{}, fmt.Errorf("wrk: %s", line)
		}
	}
	if requests == 0 || l.rate == 0 || l.p99 == 0 {
		return load{}, fmt.Errorf("wrk says nothing: %s", out)
	}
	l.cpu = (after - before) / 1e3 / requests
	return l, nil
}

// microseconds reads wrk's times: "12.50us", "1.20ms", "1.00s".
func microseconds(s string) float64 {
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0
	}
	return float64(d) / 1e3
}

// cpu is the processor time of the server's threads in nanoseconds.
func (s *server) cpu() (float64, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", s.pid))
	if err != nil || len(files) == 0 {
		return 0, fmt.Errorf("no threads of %d: %w", s.pid, errors.Join(err, os.ErrNotExist))
	}
	sum := 0.0
	for _, file := range files {
		content, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, err
		}
		ns, _, _ := strings.Cut(string(content), " ")
		v, err := strconv.ParseFloat(ns, 64)
		if err != nil {
			return 0, err
		}
		sum += v
	}
	return sum, nil
}

func (s *server) anonymous() (float64, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(content)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "RssAnon:" {
			return strconv.ParseFloat(fields[1], 64)
		}
	}
	return 0, errors.New("no RssAnon")
}

// idle opens connections that have made one request each.
func (s *server) idle(n int) (conns []net.Conn, err error) {
	for range n {
		conn, err := net.Dial("tcp4", s.address)
		if err != nil {
			return conns, err
		}
		conns = append(conns, conn)
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\n\r\n"); err != nil {
			return conns, err
		}
		var buf [512]byte
		if _, err := conn.Read(buf[:]); err != nil {
			return conns, err
		}
	}
	return conns, nil
}

func (s *server) download(size int) (time.Duration, error) {
	conn, err := net.Dial("tcp4", s.address)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	begin := time.Now()
	if _, err := fmt.Fprintf(conn, "GET /bytes/%d HTTP/1.1\r\nConnection: close\r\n\r\n", size); err != nil {
		return 0, err
	}
	buf := make([]byte, 1<<18)
	got := 0
	for {
		n, err := conn.Read(buf)
		got += n
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, err
		}
	}
	if got < size {
		return 0, fmt.Errorf("%d bytes of %d", got, size)
	}
	return time.Since(begin), nil
}

func (s *server) upload(size int) (time.Duration, error) {
	conn, err := net.Dial("tcp4", s.address)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	begin := time.Now()
	if _, err := fmt.Fprintf(conn, "POST /sink HTTP/1.1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n", size); err != nil {
		return 0, err
	}
	buf := make([]byte, 1<<18)
	for sent := 0; sent < size; sent += len(buf) {
		if _, err := conn.Write(buf); err != nil {
			return 0, err
		}
	}
	text, err := io.ReadAll(conn)
	took := time.Since(begin)
	if err != nil || !bytes.Contains(text, fmt.Appendf(nil, "\n%d bytes", size)) {
		return 0, fmt.Errorf("answer %q: %w", text, errors.Join(err, io.ErrUnexpectedEOF))
	}
	return took, nil
}

// measure runs a guest to its end and reads the lines "NAME NUMBER" that it prints.
func (b *bench) measure(guest string, wasm bool) (values map[string]float64, names []string, err error) {
	made, id, err := b.container(guest, wasm)
	if err != nil {
		return nil, nil, err
	}
	cmd := b.command("run", "--bundle", made.Dir, id)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w: %s", guest, err, errs.String())
	}
	values = map[string]float64{}
	for scanner := bufio.NewScanner(bytes.NewReader(out)); scanner.Scan(); {
		name, number, _ := strings.Cut(scanner.Text(), " ")
		v, err := strconv.ParseFloat(number, 64)
		if err != nil {
			return nil, nil, fmt.Errorf("%s prints %q: %w", guest, scanner.Text(), err)
		}
		names, values[name] = append(names, name), v
	}
	return values, names, nil
}
