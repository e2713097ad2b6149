package aot

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/runw/runw/pkg/hostfuncs/abi"
	"golang.org/x/sys/unix"
)

// helperEnv makes the test binary act as another process of runw.
const helperEnv = "RUNW_AOT_HELPER"

// interpretEnv makes the test binary run its tests without executable memory.
const interpretEnv = "RUNW_AOT_INTERPRET"

func TestMain(m *testing.M) {
	if os.Getenv(helperEnv) != "" {
		os.Exit(helper(os.Args[1:]))
	}
	if os.Getenv(interpretEnv) != "" {
		if err := unix.Prctl(unix.PR_SET_MDWE, unix.PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0); err != nil {
			fmt.Println("PR_SET_MDWE:", err)
			os.Exit(1)
		}
		if wazeroCompiles() {
			fmt.Println("executable memory is not denied")
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// helper: [tmpfs|readonly|noexec|mdwe] ensure STORE MODULE prints "cached=… warned=…".
func helper(args []string) int {
	fail := func(err error) int { fmt.Fprintln(os.Stderr, err); return 1 }
	mode := ""
	if args[0] != "ensure" {
		mode, args = args[0], args[1:]
	}
	dir := args[1]
	switch mode {
	case "tmpfs": // too small for any artifact
		if err := unix.Mount("none", dir, "tmpfs", 0, "size=4k,mode=0700"); err != nil {
			return fail(err)
		}
	case "noexec":
		if err := unix.Mount("none", dir, "tmpfs", unix.MS_NOEXEC, "mode=0700"); err != nil {
			return fail(err)
		}
	case "mdwe": // no memory becomes executable, as SELinux's execmem and seccomp can have it
		if err := unix.Prctl(unix.PR_SET_MDWE, unix.PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0); err != nil {
			return fail(err)
		}
	case "readonly":
		if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
			return fail(err)
		}
		if err := unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			return fail(err)
		}
	}
	wasm, err := os.ReadFile(args[2])
	if err != nil {
		return fail(err)
	}
	s, err := OpenStore(dir)
	if err != nil {
		return fail(err)
	}
	var warned []string
	a, err := Ensure(context.Background(), EnsureArgs{Wasm: wasm, Store: s, Warn: func(err error) { warned = append(warned, err.Error()) }})
	if err != nil {
		return fail(err)
	}
	m, err := Open(context.Background(), OpenArgs{Wasm: wasm, Artifact: a.File, Warn: func(err error) { warned = append(warned, "open: "+err.Error()) }})
	if err != nil {
		return fail(err)
	}
	err = m.Run(context.Background(), RunArgs{Funcs: []abi.Func{procExit}})
	m.Close()
	fmt.Printf("cached=%v warned=%d native=%v run=%v %s", a.Cached, len(warned), a.File != nil, err, strings.Join(warned, "; "))
	return 0
}

func helperCommand(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = []string{helperEnv + "=1"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

func needRoot(t *testing.T) {
	t.Helper()
	if !isRoot() {
		t.Skip("needs root outside of a user namespace: mounts and foreign owners")
	}
}

func isRoot() bool { return os.Geteuid() == 0 && !inUserNamespace() }

// slowModule takes some tens of milliseconds to compile.
func slowModule(t testing.TB, salt int) []byte {
	t.Helper()
	var b strings.Builder
	b.WriteString("(module (memory 1)")
	for i := range 400 {
		fmt.Fprintf(&b, "(func (param i32 i64) (result i64) (local i64) i32.const %d local.get 0 i32.add i32.load8_u i64.extend_i32_u local.tee 2 local.get 1 i64.mul ", i+salt)
		for range 30 {
			b.WriteString("local.get 2 i64.xor local.tee 2 local.get 1 i64.rotl ")
		}
		b.WriteString(")")
	}
	b.WriteString(`(func (export "_start")))`)
	return watText(t, b.String())
}

func waitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("timeout: %s", what)
		}
	}
}
