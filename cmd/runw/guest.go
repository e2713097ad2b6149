package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/runw/runw/pkg/aot"
	"github.com/runw/runw/pkg/hostfuncs"
	"github.com/runw/runw/pkg/oci"
	"github.com/runw/runw/pkg/sandbox"
	"github.com/sirupsen/logrus"
	"github.com/urfave/cli/v2"
)

// annotationTrace, set to "true", makes the engine print every host call on
// the container's stderr.
const annotationTrace = "run.runw.trace"

// withContainer turns the flags that create and run share into CreateArgs,
// with the module ready to run if the bundle has one, and calls f.
func withContainer(c *cli.Context, opts *options, f func(sandbox.CreateArgs) error) error {
	p, err := processArgs(c)
	if err != nil {
		return err
	}
	b, err := oci.Load(c.String("bundle"))
	if err != nil {
		return err
	}
	if err := injectCDI(opts, b.Spec); err != nil {
		return err
	}
	w, err := oci.Detect(b)
	if err != nil {
		return err
	}
	a := sandbox.CreateArgs{
		ID:           c.Args().First(),
		Bundle:       b.Dir,
		Spec:         b.Spec,
		NoPivot:      c.Bool("no-pivot"),
		NoNewKeyring: c.Bool("no-new-keyring"),
	}
	if w.Kind != oci.Native {
		if err := opts.runtime.Vacant(a.ID); err != nil {
			w.Module.Close()
			return err
		}
	}
	s := guestSource{
		workload:    w,
		worker:      opts.runtime.Worker(&a),
		annotations: b.Spec.Annotations,
		limits:      containerLimits(b.Spec),
		preopens: func() ([]oci.Preopen, error) {
			list, err := oci.Preopens(b.Spec)
			if err != nil {
				return nil, err
			}
			return list, oci.CheckPreopens(b, list)
		},
		devices: func() []oci.Device { return oci.Devices(b.Spec) },
	}
	return s.withGuest(c.Context, opts, func(g *sandbox.Guest) error {
		p.Guest = g
		a.ProcessArgs = p
		return f(a)
	})
}

// processArgs reads the flags that create, run and exec share.
func processArgs(c *cli.Context) (sandbox.ProcessArgs, error) {
	a := sandbox.ProcessArgs{PreserveFDs: c.Int("preserve-fds")}
	if a.PreserveFDs < 0 {
		return a, errors.New("--preserve-fds must not be negative")
	}
	for flag, to := range map[string]*string{
		"pid-file": &a.PIDFile, "console-socket": &a.ConsoleSocket, "pidfd-socket": &a.PidfdSocket,
	} {
		path, err := absolute(c.String(flag))
		if err != nil {
			return a, err
		}
		*to = path
	}
	return a, nil
}

// guestSource is a program on its way into a container, and what the container
// has to say about it if it is a module.
type guestSource struct {
	inside      bool // found among the mounts of a running container
	workload    *oci.Workload
	worker      *sandbox.Worker
	annotations map[string]string
	limits      guestLimits
	// preopens tells and checks the guest's directories.
	preopens func() ([]oci.Preopen, error)
	// devices are those that the container is granted.
	devices func() []oci.Device
}

// withGuest calls f with the module ready to run, with nil for a native
// program.
func (s *guestSource) withGuest(ctx context.Context, opts *options, f func(*sandbox.Guest) error) error {
	w := s.workload
	logrus.Debugf("workload is %s: %s", w.Kind, w.Why)
	if w.Kind == oci.Native {
		return f(nil)
	}
	defer w.Module.Close()
	guest, err := s.prepare(ctx, opts)
	if err != nil {
		return fmt.Errorf("module %s: %w", w.Path, err)
	}
	defer guest.Module.Close()
	if guest.Artifact != nil {
		defer guest.Artifact.Close()
	}
	return f(guest)
}

// prepare does everything that can fail about a module before there is a
// process: after exec.fifo only the container's stderr is left to tell anybody.
func (s *guestSource) prepare(ctx context.Context, opts *options) (*sandbox.Guest, error) {
	w := s.workload
	engine, err := aot.Resolve(cmp.Or(w.Engine, opts.engine))
	if err != nil {
		return nil, err
	}
	net, err := netPolicy(s.annotations)
	if err != nil {
		return nil, err
	}
	var (
		preopens []oci.Preopen
		helper   *sandbox.Accel
		models   []sandbox.Model
	)
	artifact, err := nativeCode(ctx, nativeArgs{
		module:       w.Module,
		foreign:      s.inside,
		name:         w.Path,
		engine:       engine,
		addressSpace: s.limits.addressSpace(),
		store:        openStore(opts),
		worker:       s.worker,
		timeout:      opts.aotTimeout,
		warn:         func(err error) { logrus.Warnf("native code of %s: %v", w.Path, err) },
		check: func(info *aot.Info) error {
			if err := checkModule(info, w.Export); err != nil {
				return err
			}
			if err := s.limits.check(info); err != nil {
				return err
			}
			var err error
			if importsInference(info) {
				if helper, models, err = s.inference(opts); err != nil {
					return err
				}
			}
			preopens, err = s.preopens()
			return err
		},
	})
	if err != nil {
		return nil, err
	}
	logrus.Debugf("artifact %s for %s, cached: %t", artifact.Digest, artifact.Engine, artifact.Cached)
	module, err := aot.Shield(w.Module)
	if err != nil {
		if artifact.File != nil {
			artifact.File.Close()
		}
		return nil, err
	}
	g := &sandbox.Guest{
		Engine:      engine,
		Entry:       w.Export,
		MemoryLimit: s.limits.memory,
		Module:      module,
		Artifact:    artifact.File,
		Trace:       s.annotations[annotationTrace] == "true",
		Net:         net,
		Accel:       helper,
		Models:      models,
	}
	for _, p := range preopens {
		g.Preopens = append(g.Preopens, sandbox.Preopen(p))
	}
	return g, nil
}

// checkModule refuses what could not be linked or started.
func checkModule(info *aot.Info, entry string) error {
	if err := hostfuncs.Check(info.Imports); err != nil {
		return err
	}
	for _, im := range info.OtherImports {
		return fmt.Errorf("%w: %s %s.%s", hostfuncs.ErrUnknownImport, im.Kind, im.Module, im.Name)
	}
	if entry == "" {
		entry = "_start"
	}
	if e, ok := info.Export(entry); !ok || e.Kind != aot.KindFunc {
		return fmt.Errorf("exports no function %q to start with", entry)
	}
	return nil
}
