package main

import (
	"fmt"
	"io"
	"time"

	"github.com/runw/runw/pkg/aot"
	"github.com/urfave/cli/v2"
)

func aotPruneCommand(opts *options) *cli.Command {
	return &cli.Command{
		Name:  "prune",
		Usage: "remove native code, the least recently used first",
		Description: `The prune command removes the entries that any of its options selects. Without
one it brings the store below the size that the global option "--aot-max-size"
sets. What a compiler that was killed left behind goes in any case, what is
being made stays. Sizes are written as 512M or 1.5 GiB, durations as 90m or 7d.`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "all", Usage: "remove all entries"},
			&cli.BoolFlag{Name: "stale", Usage: "remove entries of engines that this version of runw does not have"},
			&cli.StringFlag{Name: "max-size", Usage: "keep the most recently used entries, up to that size together"},
			&cli.StringFlag{Name: "max-age", Usage: "remove entries made longer ago"},
			&cli.StringFlag{Name: "unused-for", Usage: "remove entries last used longer ago"},
			&cli.StringFlag{Name: "engine", Usage: "leave the entries of other engines than this one alone"},
			&cli.BoolFlag{Name: "dry-run", Usage: "only print what would be removed"},
		},
		Action: func(c *cli.Context) error {
			if err := exactArgs(c, 0); err != nil {
				return err
			}
			store, err := needStore(opts)
			if err != nil {
				return fmt.Errorf("aot prune: %w", err)
			}
			defer store.Close()
			a, err := pruneArgs(c, store)
			if err != nil {
				return err
			}
			p, err := store.Prune(a)
			printPruned(c.App.Writer, p, a.DryRun)
			if err != nil {
				return fmt.Errorf("aot prune: %w", err)
			}
			return nil
		},
	}
}

func pruneArgs(c *cli.Context, store *aot.Store) (a aot.PruneArgs, err error) {
	a = aot.PruneArgs{
		All: c.Bool("all"), Stale: c.Bool("stale"), DryRun: c.Bool("dry-run"), MaxSize: -1,
	}
	// The global flag of the same name says what to compile with, not what to remove.
	if c.IsSet("engine") {
		a.Engine = c.String("engine")
	}
	for flag, to := range map[string]*time.Duration{"max-age": &a.MaxAge, "unused-for": &a.UnusedFor} {
		if *to, err = storeAge(c.String(flag)); err != nil {
			return a, fmt.Errorf("aot prune: --%s: %w", flag, err)
		}
	}
	if s := c.String("max-size"); s != "" {
		if a.MaxSize, err = parseBytes(s); err != nil || a.MaxSize < 0 {
			return a, fmt.Errorf("aot prune: --max-size: invalid size: %q", s)
		}
	} else if !a.All && !a.Stale && a.MaxAge == 0 && a.UnusedFor == 0 {
		a.MaxSize = store.Limit()
	}
	return a, nil
}

func printPruned(w io.Writer, p *aot.Pruned, dry bool) {
	did := "removed"
	if dry {
		did = "would remove"
	}
	for _, e := range p.Removed {
		fmt.Fprintf(w, "%s %s of %s, %s\n", did, shortDigest(e.Digest), e.Fingerprint, humanBytes(e.Size))
	}
	for _, e := range p.Busy {
		fmt.Fprintf(w, "left %s of %s, which is being made\n", shortDigest(e.Digest), e.Fingerprint)
	}
	if p.Leftovers > 0 {
		fmt.Fprintf(w, "removed %d leftover files\n", p.Leftovers)
	}
	fmt.Fprintf(w, "%s %d entries, %s\n", did, len(p.Removed), humanBytes(p.Bytes))
}
