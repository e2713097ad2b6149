package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/runw/runw/pkg/aot"
	"github.com/sirupsen/logrus"
	"github.com/urfave/cli/v2"
)

func aotLsCommand(opts *options) *cli.Command {
	return &cli.Command{
		Name:    "ls",
		Aliases: []string{"list"},
		Usage:   "list the modules whose native code is kept, the last used first",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "format", Aliases: []string{"f"}, Value: "table", Usage: "select one of: table or json"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "display only the modules' sha256"},
		},
		Action: func(c *cli.Context) error {
			if err := exactArgs(c, 0); err != nil {
				return err
			}
			store, err := needStore(opts)
			if err != nil {
				return fmt.Errorf("aot ls: %w", err)
			}
			defer store.Close()
			entries, err := store.List()
			if err != nil {
				logrus.Warn(err)
			}
			return printEntries(c.App.Writer, entries, c.String("format"), c.Bool("quiet"))
		},
	}
}

func printEntries(w io.Writer, entries []aot.Entry, format string, quiet bool) error {
	switch {
	case quiet:
		for _, e := range entries {
			fmt.Fprintln(w, e.Digest)
		}
	case format == "table":
		tw := tabwriter.NewWriter(w, 12, 1, 3, ' ', 0)
		fmt.Fprint(tw, "MODULE\tENGINE\tSIZE\tUSES\tLAST USE\tCREATED\n")
		for _, e := range entries {
			engine, last := e.Fingerprint, "never"
			if e.Stale {
				engine += " (stale)"
			}
			if !e.LastUse.IsZero() {
				last = e.LastUse.Format(time.RFC3339)
			}
			fmt.Fprintf(tw, "%s\t%s\t%s\t%d\t%s\t%s\n",
				shortDigest(e.Digest), engine, humanBytes(e.Size), e.Uses, last, e.Created.Format(time.RFC3339))
		}
		return tw.Flush()
	case format == "json":
		if entries == nil {
			entries = []aot.Entry{}
		}
		return json.NewEncoder(w).Encode(entries)
	default:
		return fmt.Errorf("aot ls: %w", errFormat)
	}
	return nil
}

// shortDigest is enough for people to tell modules apart.
func shortDigest(digest string) string { return digest[:16] }
