package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/runw/runw/pkg/oci"
	"github.com/urfave/cli/v2"
)

// execProcess is the process of --process, or else that of the container's
// config.json with the changes the flags ask for.
func execProcess(c *cli.Context, bundle string) (*specs.Process, error) {
	if path := c.String("process"); path != "" {
		return readProcess(path)
	}
	if bundle == "" {
		return nil, errors.New("bundle not found in labels")
	}
	p, err := oci.LoadProcess(bundle)
	if err != nil {
		return nil, err
	}
	if c.NArg() < 2 {
		return nil, errors.New("exec args cannot be empty")
	}
	p.Args = c.Args().Tail()
	p.Env = append(p.Env, c.StringSlice("env")...)
	p.Terminal = c.Bool("tty") // the container's own need not be repeated
	if c.IsSet("no-new-privs") {
		p.NoNewPrivileges = c.Bool("no-new-privs")
	}
	for flag, to := range map[string]*string{
		"cwd": &p.Cwd, "apparmor": &p.ApparmorProfile, "process-label": &p.SelinuxLabel,
	} {
		if s := c.String(flag); s != "" {
			*to = s
		}
	}
	addCapabilities(p, c.StringSlice("cap"))
	if err := setUser(&p.User, c.String("user"), c.Int64Slice("additional-gids")); err != nil {
		return nil, err
	}
	return p, oci.ValidateProcess(p)
}

func readProcess(path string) (*specs.Process, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p, err := oci.ParseProcess(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

// addCapabilities adds to the ambient set only where there are inheritable
// ones: without those the kernel refuses it (capabilities(7)).
func addCapabilities(p *specs.Process, add []string) {
	if len(add) == 0 {
		return
	}
	if p.Capabilities == nil {
		p.Capabilities = &specs.LinuxCapabilities{}
	}
	k := p.Capabilities
	k.Bounding = append(k.Bounding, add...)
	k.Effective = append(k.Effective, add...)
	k.Permitted = append(k.Permitted, add...)
	if k.Inheritable != nil {
		k.Ambient = append(k.Ambient, add...)
	}
}

// setUser reads --user, UID[:GID] or empty, and --additional-gids.
func setUser(u *specs.User, user string, groups []int64) error {
	if user != "" {
		uid, gid, given := strings.Cut(user, ":")
		if given {
			n, err := strconv.ParseUint(gid, 10, 32)
			if err != nil {
				return fmt.Errorf("bad gid: %w", err)
			}
			u.GID = uint32(n)
		}
		n, err := strconv.ParseUint(uid, 10, 32)
		if err != nil {
			return fmt.Errorf("bad uid: %w", err)
		}
		u.UID = uint32(n)
	}
	for _, g := range groups {
		if g < 0 {
			return fmt.Errorf("additional-gids must be a positive number %d", g)
		}
		if g > 1<<32-1 {
			return fmt.Errorf("additional-gids: %d is no gid", g)
		}
		u.AdditionalGids = append(u.AdditionalGids, uint32(g))
	}
	return nil
}

// subCgroups reads --cgroup: one PATH for every hierarchy, or
// CONTROLLER[,CONTROLLER...]:PATH for each that is meant (cgroup v1).
func subCgroups(args []string) (map[string]string, error) {
	if len(args) == 0 {
		return nil, nil
	}
	paths := make(map[string]string, len(args))
	for _, arg := range args {
		controllers, path, ok := strings.Cut(arg, ":")
		if !ok && len(args) > 1 {
			return nil, fmt.Errorf("invalid --cgroup argument: %s (missing <controller>: prefix)", arg)
		}
		if !ok {
			return map[string]string{"": arg}, nil
		}
		for name := range strings.SplitSeq(controllers, ",") {
			if name == "" {
				return nil, fmt.Errorf("invalid --cgroup argument: %s (empty <controller> prefix)", arg)
			}
			if _, twice := paths[name]; twice {
				return nil, fmt.Errorf("invalid --cgroup argument(s): controller %s specified multiple times", name)
			}
			paths[name] = path
		}
	}
	return paths, nil
}
