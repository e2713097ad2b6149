package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/runw/runw/pkg/oci"
	"github.com/urfave/cli/v2"
)

func specCommand() *cli.Command {
	return &cli.Command{
		Name:  "spec",
		Usage: "create a new specification file",
		Description: `The spec command creates the new specification file named "config.json" for
the bundle. The file runs "sh" in a new container, or with --wasm the module at
the given path of the root filesystem. It is a starting point to be edited.

EXAMPLE:
To run a module from a bundle of its own:

    mkdir -p hello/rootfs
    cp hello.wasm hello/rootfs
    cd hello
    runw spec --wasm /hello.wasm
    runw run hello`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "bundle", Aliases: []string{"b"}, Usage: "path to the root of the bundle directory"},
			&cli.BoolFlag{Name: "rootless", Usage: "generate a configuration for a rootless container"},
			&cli.StringFlag{Name: "wasm", Usage: "generate a configuration for the WebAssembly module at this path of the root filesystem"},
		},
		Action: func(c *cli.Context) error {
			if err := exactArgs(c, 0); err != nil {
				return err
			}
			spec := oci.Example()
			if path := c.String("wasm"); path != "" {
				spec = oci.ExampleWasm(path)
			}
			if c.Bool("rootless") {
				oci.ExampleRootless(spec)
			}
			if err := writeSpec(c.String("bundle"), spec); err != nil {
				return fmt.Errorf("spec: %w", err)
			}
			return nil
		},
	}
}

// writeSpec never overwrites a config.json.
func writeSpec(bundle string, spec *specs.Spec) (retErr error) {
	data, err := json.MarshalIndent(spec, "", "\t")
	if err != nil {
		return err
	}
	path := filepath.Join(bundle, "config.json")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("file %s exists. Remove it first", path)
	}
	if err != nil {
		return err
	}
	defer func() {
		if err := f.Close(); retErr == nil {
			retErr = err
		}
	}()
	_, err = f.Write(data)
	return err
}
