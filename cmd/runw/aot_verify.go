package main

import (
	"fmt"

	"github.com/runw/runw/pkg/aot"
	"github.com/urfave/cli/v2"
)

func aotVerifyCommand(opts *options) *cli.Command {
	return &cli.Command{
		Name:  "verify",
		Usage: "read all native code that is kept and check it",
		Description: `The verify command prints a line for each entry that is damaged, of another
format, or does not belong there, and fails if there is one. A start finds what
is damaged as well, and compiles the module again.`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "remove", Usage: "remove what is bad"},
		},
		Action: func(c *cli.Context) error {
			if err := exactArgs(c, 0); err != nil {
				return err
			}
			store, err := needStore(opts)
			if err != nil {
				return fmt.Errorf("aot verify: %w", err)
			}
			defer store.Close()
			all, bad := 0, 0
			err = store.Verify(c.Bool("remove"), func(r aot.Checked) {
				all++
				if r.Err == nil {
					return
				}
				bad++
				done := ""
				if r.Removed {
					done = " (removed)"
				}
				fmt.Fprintf(c.App.Writer, "%s: %v%s\n", r.Path, r.Err, done)
			})
			switch {
			case err != nil:
				return fmt.Errorf("aot verify: %w", err)
			case bad > 0:
				return fmt.Errorf("aot verify: %d of %d entries are bad", bad, all)
			}
			return nil
		},
	}
}
