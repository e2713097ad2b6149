package main

import (
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"
)

// aotCommand groups the commands about the store of native code.
func aotCommand(opts *options) *cli.Command {
	c := &cli.Command{
		Name:  "aot",
		Usage: "list, make, check and remove the native code that is kept of WebAssembly modules",
		Description: `The aot commands are about the directory that the global option "--aot-dir"
names. Containers that run are not affected by any of them.`,
		Action: func(c *cli.Context) error {
			if name := c.Args().First(); name != "" {
				return fmt.Errorf("unknown command %q (see 'runw aot --help')", name)
			}
			return cli.ShowSubcommandHelp(c)
		},
		Subcommands: []*cli.Command{
			aotCompileCommand(opts),
			aotLsCommand(opts),
			aotPruneCommand(opts),
			aotVerifyCommand(opts),
		},
	}
	for _, sub := range c.Subcommands {
		sub.OnUsageError = usageError
		sub.HideHelpCommand = true
	}
	return c
}

var errFormat = errors.New("invalid format option, want table or json")

// humanBytes is for tables: three digits and a decimal unit.
func humanBytes(n int64) string {
	v, unit := float64(n), 0
	for ; v >= 999.5 && unit < 4; unit++ {
		v /= 1000
	}
	digits := 0
	if unit > 0 && v < 9.95 {
		digits = 1
	}
	return fmt.Sprintf("%.*f %s", digits, v, []string{"B", "kB", "MB", "GB", "TB"}[unit])
}
