package clients

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// The channels of a stream that need a name; 1 and 2 are the output. Each message begins with one.
const (
	channelStdin = 0
	channelError = 3
)

// stream does what `kubectl exec -i` and `kubectl attach -i` do behind the API server: it
// sends the input to the URL that containerd has answered, and returns the output and,
// of an exec, how it ended.
func stream(url, input string, status *meta.Status) (output string, err error) {
	config, err := websocket.NewConfig(strings.Replace(url, "http://", "ws://", 1), "http://localhost/")
	if err != nil {
		return "", err
	}
	config.Protocol = []string{"v4.channel.k8s.io"}
	conn, err := websocket.DialConfig(config)
	if err != nil {
		return "", fmt.Errorf("%s: %w", url, err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return "", err
	}
	if err := websocket.Message.Send(conn, append([]byte{channelStdin}, input...)); err != nil {
		return "", err
	}
	var text strings.Builder
	for {
		var message []byte
		if err := websocket.Message.Receive(conn, &message); errors.Is(err, io.EOF) {
			return text.String(), nil
		} else if err != nil {
			return text.String(), err
		}
		switch {
		case len(message) < 2:
		case message[0] == channelError:
			if err := json.Unmarshal(message[1:], status); err != nil {
				return text.String(), err
			}
		default:
			text.Write(message[1:])
		}
	}
}

// TestCRIExecStream is `kubectl exec -it`: into a program and into a module, each with a
// terminal that reads a line, and without.
func TestCRIExecStream(t *testing.T) {
	k := newKubelet(t)
	p, err := k.mixed("streams")
	must(t, err)
	defer func() { must(t, p.remove()) }()
	for name, program := range map[string]string{"app": "/hello.wasm", "sidecar": "/probe"} {
		for _, tty := range []bool{true, false} {
			answer, err := k.runtime.Exec(k.ctx, &cri.ExecRequest{
				ContainerId: p.containers[name], Cmd: []string{program, "terminal"}, Tty: tty, Stdin: true, Stdout: true, Stderr: !tty,
			})
			must(t, err)
			var status meta.Status
			out, err := stream(answer.Url, "typed\n", &status)
			want := "fd 0 is a terminal"
			if !tty {
				want = "fd 0 is no terminal"
			}
			if err != nil || !strings.Contains(out, want) || !strings.Contains(out, "read typed") || status.Status != meta.StatusSuccess {
				t.Errorf("%s, terminal %v: %q, %+v, %v", name, tty, out, status, err)
			}
		}
		answer, err := k.runtime.Exec(k.ctx, &cri.ExecRequest{ContainerId: p.containers[name], Cmd: []string{program, "exit", "6"}, Stdin: true, Stdout: true, Stderr: true})
		must(t, err)
		var status meta.Status
		if _, err := stream(answer.Url, "", &status); err != nil || status.Details == nil || status.Details.Causes[0].Message != "6" {
			t.Errorf("%s: exit status 6: %+v, %v", name, status, err)
		}
	}
}

// TestCRIAttach is `kubectl run -it` and `kubectl attach`.
func TestCRIAttach(t *testing.T) {
	k := newKubelet(t)
	p, err := k.sandbox("attached", handler, nil)
	must(t, err)
	defer func() { must(t, p.remove()) }()
	for _, w := range workloads {
		config := containerConfig(w.name, w.image, "terminal")
		config.Stdin, config.StdinOnce, config.Tty = true, true, true
		must(t, p.startWith(config))
		answer, err := k.runtime.Attach(k.ctx, &cri.AttachRequest{ContainerId: p.containers[w.name], Tty: true, Stdin: true, Stdout: true})
		must(t, err)
		var status meta.Status
		if out, err := stream(answer.Url, "to the running one\n", &status); err != nil || !strings.Contains(out, "read to the running one") {
			t.Errorf("%s: %q, %v", w.name, out, err)
		}
		await(t, "the container's end", func() bool { return p.status(w.name).State == cri.ContainerState_CONTAINER_EXITED })
		if s := p.status(w.name); s.ExitCode != 0 {
			t.Errorf("%s: %v", w.name, s)
		}
	}
}
