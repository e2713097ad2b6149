package main

import (
	"github.com/runw/runw/pkg/sandbox"
	"github.com/sirupsen/logrus"
	"github.com/urfave/cli/v2"
)

func updateCommand(opts *options) *cli.Command {
	return &cli.Command{
		Name:      "update",
		Usage:     "update container resource constraints",
		ArgsUsage: `<container-id>`,
		Description: `The update command changes the limits of a container. With --resources they are
read from a file, or from the standard input for "-", and all other options are
ignored. The file holds one JSON object as linux.resources of a config.json is,
of which everything can be left out that is not to be changed:

{
  "memory": {"limit": 0, "reservation": 0, "swap": 0, "checkBeforeUpdate": true},
  "cpu": {
    "shares": 0, "quota": 0, "burst": 0, "period": 0,
    "realtimeRuntime": 0, "realtimePeriod": 0, "cpus": "", "mems": "", "idle": 0
  },
  "blockIO": {"weight": 0},
  "pids": {"limit": 0},
  "unified": {}
}`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "resources", Aliases: []string{"r"}, Usage: "path to the file containing the resources to update or '-' to read from the standard input"},
			&cli.IntFlag{Name: "blkio-weight", Usage: "Specifies per cgroup weight, range is from 10 to 1000"},
			&cli.StringFlag{Name: "cpu-period", Usage: "CPU CFS period to be used for hardcapping (in usecs). 0 to use system default"},
			&cli.StringFlag{Name: "cpu-quota", Usage: "CPU CFS hardcap limit (in usecs). Allowed cpu time in a given period"},
			&cli.StringFlag{Name: "cpu-burst", Usage: "CPU CFS hardcap burst limit (in usecs). Allowed accumulated cpu time additionally for burst a given period"},
			&cli.StringFlag{Name: "cpu-share", Usage: "CPU shares (relative weight vs. other containers)"},
			&cli.StringFlag{Name: "cpu-rt-period", Usage: "CPU realtime period to be used for hardcapping (in usecs). 0 to use system default"},
			&cli.StringFlag{Name: "cpu-rt-runtime", Usage: "CPU realtime hardcap limit (in usecs). Allowed cpu time in a given period"},
			&cli.StringFlag{Name: "cpuset-cpus", Usage: "CPU(s) to use"},
			&cli.StringFlag{Name: "cpuset-mems", Usage: "Memory node(s) to use"},
			&cli.StringFlag{Name: "kernel-memory", Usage: "(obsoleted; do not use)", Hidden: true},
			&cli.StringFlag{Name: "kernel-memory-tcp", Usage: "(obsoleted; do not use)", Hidden: true},
			&cli.StringFlag{Name: "memory", Usage: "Memory limit (in bytes)"},
			&cli.StringFlag{Name: "cpu-idle", Usage: "set cgroup SCHED_IDLE or not, 0: default behavior, 1: SCHED_IDLE"},
			&cli.StringFlag{Name: "memory-reservation", Usage: "Memory reservation or soft_limit (in bytes)"},
			&cli.StringFlag{Name: "memory-swap", Usage: "Total memory usage (memory + swap); set '-1' to enable unlimited swap"},
			&cli.IntFlag{Name: "pids-limit", Usage: "Maximum number of pids allowed in the container"},
			&cli.StringFlag{Name: "l3-cache-schema", Usage: "The string of Intel RDT/CAT L3 cache schema"},
			&cli.StringFlag{Name: "mem-bw-schema", Usage: "The string of Intel RDT/MBA memory bandwidth schema"},
		},
		Action: func(c *cli.Context) error {
			if err := exactArgs(c, 1); err != nil {
				return err
			}
			id := c.Args().First()
			if c.IsSet("kernel-memory") || c.IsSet("kernel-memory-tcp") {
				logrus.Warn("Kernel memory settings are ignored and will be removed")
			}
			resources, err := newResources(c)
			if err != nil {
				return onContainer(id, "update", err)
			}
			return onContainer(id, "update", cgroupHint(opts.runtime.Update(sandbox.UpdateArgs{
				ID:            id,
				Resources:     *resources,
				L3CacheSchema: c.String("l3-cache-schema"),
				MemBwSchema:   c.String("mem-bw-schema"),
			})))
		},
	}
}
