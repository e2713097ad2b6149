package main

import (
	"encoding/json"
	"strings"

	"github.com/runw/runw/pkg/aot"
	"github.com/runw/runw/pkg/sandbox"
	"github.com/urfave/cli/v2"
)

func featuresCommand() *cli.Command {
	return &cli.Command{
		Name:  "features",
		Usage: "show the enabled features",
		Description: `Show the enabled features.
   The result is parsable as a JSON.
   See the runtime-spec's features.md for the type definition.`,
		Action: func(c *cli.Context) error {
			if err := exactArgs(c, 0); err != nil {
				return err
			}
			annotations := map[string]string{
				"run.runw.version": version,
				"run.runw.commit":  gitCommit,
				"run.runw.engines": strings.Join(aot.Engines(), ","),
				// What callers look for to find out whether a runtime can run
				// Wasm (crun's name for it).
				"run.oci.crun.wasm": "true",
				// runc's name for the commands checkpoint and restore.
				"org.opencontainers.runc.checkpoint.enabled": "true",
			}
			if v := sandbox.SeccompVersion(); v != "" {
				annotations["io.github.seccomp.libseccomp.version"] = v
			}
			enc := json.NewEncoder(c.App.Writer)
			enc.SetIndent("", "    ")
			return enc.Encode(sandbox.Features(annotations))
		},
	}
}
