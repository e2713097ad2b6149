package integration

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// server is a container whose guest listens in a network namespace of its own.
type server struct {
	*box
	ns string // the namespace's path
}

// engine makes the box run on the engine that RUNW_ENGINE names, if it names one.
func (b *box) engine() {
	if name := os.Getenv("RUNW_ENGINE"); name != "" {
		b.global = append(b.global, "--engine", name)
	}
}

// serve starts a guest and waits until it listens.
func serve(t *testing.T, guest string, args ...string) *server {
	t.Helper()
	s := prepare(t, guest, args...)
	s.start()
	return s
}

// prepare is serve without the start.
func prepare(t *testing.T, guest string, args ...string) *server {
	t.Helper()
	s := &server{box: newBox(t, guest, args...)}
	s.engine()
	return s
}

func (s *server) start() {
	s.t.Helper()
	s.begin()
	s.await("listening")
	s.ns = fmt.Sprintf("/proc/%d/ns/net", s.init)
}

// end stops the server and removes it.
func (s *server) end() {
	s.t.Helper()
	s.quiet("kill", s.id, "TERM").ok()
	if code := s.wait(); code != 143 {
		s.t.Errorf("exit status %d after SIGTERM, stderr %q", code, s.output("stderr"))
	}
	s.quiet("delete", s.id).ok()
}

// inside runs f in the container's network namespace. What f connects and listens on must be
// literal addresses, for Go looks names up elsewhere.
func (s *server) inside(f func()) {
	s.t.Helper()
	done := make(chan error)
	go func() { done <- inNamespace(s.ns, f) }()
	must(s.t, <-done)
}

// inNamespace runs f on a thread of its own, which ends with it.
func inNamespace(path string, f func()) error {
	runtime.LockOSThread()
	ns, err := os.Open(path)
	if err != nil {
		return err
	}
	defer ns.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	f()
	return nil
}

// dial connects to the server.
func (s *server) dial(address string) net.Conn {
	s.t.Helper()
	var conn net.Conn
	var err error
	s.inside(func() { conn, err = net.DialTimeout("tcp", address, 10*time.Second) })
	must(s.t, err)
	s.t.Cleanup(func() { conn.Close() })
	must(s.t, conn.SetDeadline(time.Now().Add(commandTimeout)))
	return conn
}

// tool runs a program in the namespace and gives what it prints.
func (s *server) tool(stdin, name string, args ...string) string {
	s.t.Helper()
	var out []byte
	var err error
	s.inside(func() {
		cmd := exec.Command(name, args...)
		cmd.Stdin = strings.NewReader(stdin)
		var errs bytes.Buffer
		cmd.Stderr = &errs
		if out, err = cmd.Output(); err != nil {
			err = fmt.Errorf("%s %q: %w: %s", name, args, err, errs.String())
		}
	})
	must(s.t, err)
	return string(out)
}

// ask sends a request on a connection and reads the answer's body.
func ask(conn net.Conn, reader *bufio.Reader, request string) (string, error) {
	if _, err := io.WriteString(conn, request); err != nil {
		return "", err
	}
	return answer(reader)
}

func answer(reader *bufio.Reader) (string, error) {
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

const getRoot = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"

// httpServer is one guest that serves HTTP.
type httpServer struct {
	name, guest string
	args        []string
	hello       string
}

var httpServers = []httpServer{
	{"C", "c/http", []string{"127.0.0.1:8080"}, "Hello from a WebAssembly module or a program.\n"},
	{"Go", "go/net", []string{"serve", "8080"}, "Hello from Go.\n"},
	{"Rust", "rust/serve", []string{"127.0.0.1:8080"}, "Hello from Rust.\n"},
}

const serverAddress = "127.0.0.1:8080"

func eachServer(t *testing.T, row func(*testing.T, httpServer, *server)) {
	for _, h := range httpServers {
		t.Run(h.name, func(t *testing.T) {
			s := serve(t, h.guest, h.args...)
			row(t, h, s)
			if !t.Failed() {
				s.end()
			}
		})
	}
}

func TestNetHTTP(t *testing.T) {
	eachServer(t, func(t *testing.T, h httpServer, s *server) {
		url := "http://" + serverAddress
		// Two requests on one connection: curl says so.
		out := s.tool("", "curl", "-sS", "-w", "%{num_connects},", url+"/", url+"/")
		if want := h.hello + "1," + h.hello + "0,"; out != want {
			t.Errorf("curl prints %q, want %q", out, want)
		}
		if out := s.tool(strings.Repeat("x", 300000), "curl", "-sS", "--data-binary", "@-", url+"/sink"); out != "300000 bytes\n" {
			t.Errorf("POST gives %q", out)
		}
		if out := s.tool("", "curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", url+"/nowhere"); out != "404" {
			t.Errorf("status %q", out)
		}
		// Pipelined, and then the client's side ends.
		out = s.tool(getRoot+"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "nc", "-w", "5", "127.0.0.1", "8080")
		if strings.Count(out, h.hello) != 2 {
			t.Errorf("nc prints %q", out)
		}
	})
}

func TestNetLoad(t *testing.T) {
	eachServer(t, func(t *testing.T, _ httpServer, s *server) {
		out := s.tool("", "wrk", "-t1", "-c100", "-d1s", "http://"+serverAddress+"/")
		if strings.Contains(out, "Socket errors") || strings.Contains(out, "Non-2xx") || !strings.Contains(out, " requests in ") {
			t.Errorf("wrk: %s", out)
		}
	})
}

// A thousand connections at a time, all of them kept alive.
func TestNetManyConnections(t *testing.T) {
	eachServer(t, func(t *testing.T, h httpServer, s *server) {
		const connections, rounds = 1000, 3
		conns := make([]net.Conn, connections)
		s.inside(func() {
			for i := range conns {
				conn, err := net.Dial("tcp", serverAddress)
				if err != nil {
					t.Errorf("connection %d: %v", i, err)
					return
				}
				conns[i] = conn
			}
		})
		var failures sync.Map
		var group sync.WaitGroup
		for i, conn := range conns {
			if conn == nil {
				break
			}
			group.Go(func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(commandTimeout))
				reader := bufio.NewReader(conn)
				for range rounds {
					if body, err := ask(conn, reader, getRoot); err != nil || body != h.hello {
						failures.Store(i, fmt.Sprintf("%q, %v", body, err))
						return
					}
				}
			})
		}
		group.Wait()
		failures.Range(func(i, what any) bool {
			t.Errorf("connection %v: %v", i, what)
			return false
		})
	})
}

// Clients that behave badly must not keep the others waiting.
func TestNetBadClients(t *testing.T) {
	s := serve(t, "c/http", serverAddress)
	good := func(when string) {
		t.Helper()
		conn := s.dial(serverAddress)
		defer conn.Close()
		if _, err := ask(conn, bufio.NewReader(conn), getRoot); err != nil {
			t.Fatalf("%s: %v", when, err)
		}
	}
	// Half a request, and nothing more.
	half := s.dial(serverAddress)
	_, err := io.WriteString(half, "GET / HT")
	must(t, err)
	good("after half a request")
	// A client that does not read what it asked for.
	slow := s.dial(serverAddress)
	_, err = io.WriteString(slow, "GET /bytes/20000000 HTTP/1.1\r\n\r\n")
	must(t, err)
	good("beside a slow reader")
	// Resets, with and without an answer under way.
	for _, request := range []string{"", "GET / H", "GET /bytes/20000000 HTTP/1.1\r\n\r\n"} {
		conn := s.dial(serverAddress)
		_, err := io.WriteString(conn, request)
		must(t, err)
		time.Sleep(5 * time.Millisecond)
		must(t, conn.(*net.TCPConn).SetLinger(0))
		must(t, conn.Close())
		good("after a reset")
	}
	// Half closed: the answer still comes.
	halfClosed := s.dial(serverAddress)
	_, err = io.WriteString(halfClosed, getRoot)
	must(t, err)
	if body, err := answer(bufio.NewReader(halfClosed)); err != nil || body == "" {
		t.Errorf("half closed: %q, %v", body, err)
	}
	must(t, halfClosed.(*net.TCPConn).CloseWrite())
	if n, err := halfClosed.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("the server has not closed: %d, %v", n, err)
	}
	// Half open: a client that is gone without a word, while an answer is under way.
	gone := s.dial(serverAddress)
	_, err = io.WriteString(gone, "GET /bytes/20000000 HTTP/1.1\r\n\r\n")
	must(t, err)
	open := func() string {
		conn := s.dial(serverAddress)
		defer conn.Close()
		n, err := ask(conn, bufio.NewReader(conn), "GET /open HTTP/1.1\r\n\r\n")
		must(t, err)
		return strings.TrimSpace(n)
	}
	before := open()
	vanish(t, gone)
	good("beside a half-open connection")
	if !eventually(commandTimeout, func() bool { return open() < before }) {
		t.Errorf("%s connections, and %s after the server must have noticed", before, open())
	}
	// The slow one gets everything in the end, and the half request its answer.
	body, err := answer(bufio.NewReader(slow))
	if len(body) != 20000000 || err != nil {
		t.Errorf("slow reader: %d bytes, %v", len(body), err)
	}
	if _, err := ask(half, bufio.NewReader(half), "TP/1.1\r\n\r\n"); err != nil {
		t.Errorf("second half: %v", err)
	}
	s.end()
}

// vanish closes a connection without telling the other side.
func vanish(t *testing.T, conn net.Conn) {
	t.Helper()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	must(t, err)
	must(t, raw.Control(func(fd uintptr) {
		must(t, unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_REPAIR, 1))
	}))
	must(t, conn.Close())
}

// A full table reaches the guest as EMFILE; the server goes on and takes the next connection
// when one has gone.
func TestNetDescriptorsRunOut(t *testing.T) {
	s := prepare(t, "c/http", serverAddress)
	s.Spec.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Hard: 64, Soft: 64}}
	s.start()
	var conns []net.Conn
	for range 80 {
		conns = append(conns, s.dial(serverAddress))
	}
	if !eventually(commandTimeout, func() bool { return strings.Contains(s.output("stderr"), "full with") }) {
		t.Fatalf("the guest has not seen EMFILE: %q", s.output("stderr"))
	}
	if _, err := ask(conns[0], bufio.NewReader(conns[0]), getRoot); err != nil {
		t.Fatalf("the first connection: %v", err)
	}
	last := conns[len(conns)-1]
	_, err := io.WriteString(last, getRoot)
	must(t, err)
	for _, conn := range conns[:40] {
		conn.Close()
	}
	if _, err := answer(bufio.NewReader(last)); err != nil {
		t.Fatalf("the last connection: %v", err)
	}
	s.end()
}

// SIGTERM ends a server in the middle of its work.
func TestNetTermWhileServing(t *testing.T) {
	s := serve(t, "c/http", serverAddress)
	conn := s.dial(serverAddress)
	_, err := io.WriteString(conn, "GET /bytes/1000000000000 HTTP/1.1\r\n\r\n")
	must(t, err)
	copied := make(chan int64)
	go func() {
		n, _ := io.Copy(io.Discard, conn)
		copied <- n
	}()
	time.Sleep(50 * time.Millisecond)
	begin := time.Now()
	s.end()
	if n := <-copied; n == 0 {
		t.Error("nothing was served")
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestNetProxy(t *testing.T) {
	backend := serve(t, "c/http", serverAddress)
	proxy := prepare(t, "c/proxy", "127.0.0.1:8081", serverAddress)
	proxy.join(specs.NetworkNamespace, backend.ns)
	proxy.start()
	out := proxy.tool("", "wrk", "-t1", "-c200", "-d1s", "http://127.0.0.1:8081/")
	if strings.Contains(out, "Socket errors") || !strings.Contains(out, " requests in ") {
		t.Errorf("wrk: %s", out)
	}
	big := strings.Repeat("0123456789abcdef", 1<<16)
	if out := proxy.tool(big, "curl", "-sS", "--data-binary", "@-", "http://127.0.0.1:8081/sink"); out != strconv.Itoa(len(big))+" bytes\n" {
		t.Errorf("POST gives %q", out)
	}
	if out := proxy.tool("", "curl", "-sS", "http://127.0.0.1:8081/bytes/5000000"); len(out) != 5000000 {
		t.Errorf("%d bytes", len(out))
	}
	// Without the backend a connection is taken and closed.
	backend.end()
	conn := proxy.dial("127.0.0.1:8081")
	if _, err := ask(conn, bufio.NewReader(conn), getRoot); err == nil {
		t.Error("an answer without a backend")
	}
	proxy.end()
}

func TestNetUDP(t *testing.T) {
	for _, c := range []struct{ guest, dial string }{
		{"127.0.0.1:5353", "127.0.0.1:5353"}, {"6:5353", "[::1]:5353"}, {"6:5353", "127.0.0.1:5353"},
	} {
		t.Run(c.guest+" "+c.dial, func(t *testing.T) {
			s := serve(t, "c/udp", c.guest)
			var conn net.Conn
			var err error
			s.inside(func() { conn, err = net.Dial("udp", c.dial) })
			must(t, err)
			defer conn.Close()
			buf := make([]byte, 1<<16)
			for _, size := range []int{1, 1400, 9000, 60000} {
				must(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
				sent := bytes.Repeat([]byte{byte(size)}, size)
				_, err := conn.Write(sent)
				must(t, err)
				n, err := conn.Read(buf)
				must(t, err)
				if !bytes.Equal(buf[:n], sent) {
					t.Errorf("%d bytes come back of %d", n, size)
				}
			}
			if c.dial == c.guest {
				if out := s.tool("to and fro", "nc", "-u", "-w", "1", "127.0.0.1", "5353"); out != "to and fro" {
					t.Errorf("nc prints %q", out)
				}
			}
			s.end()
		})
	}
}

// Go's net/http as a client in one container, of the server in another.
func TestNetGoClient(t *testing.T) {
	backend := serve(t, "c/http", serverAddress)
	client := prepare(t, "go/net", "get", "8080", "/bytes/100000")
	client.join(specs.NetworkNamespace, backend.ns)
	res := client.run().ok()
	if want := "200 OK\n" + strings.Repeat("x", 100000); res.stdout != want {
		t.Errorf("prints %.100q", res.stdout)
	}
	refused := prepare(t, "go/net", "get", "1", "/")
	refused.join(specs.NetworkNamespace, backend.ns)
	refused.run().exits(1).warns("refused")
	backend.end()
}
