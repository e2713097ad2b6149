package main

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// programName is the name that help and version speak of. Who has put runw in
// runc's place may have callers that look for "runc version".
func programName(args []string) string {
	if len(args) > 0 && filepath.Base(args[0]) == "runc" {
		return "runc"
	}
	return "runw"
}

// optionsFirst puts a command's options before its other arguments, because
// the parser stops at the first argument that is no option, and callers of runc
// may write "update ID --memory 1m". What follows the container of exec and ps
// is another program's and stays where it is.
func optionsFirst(args []string, flags []cli.Flag, commands []*cli.Command) []string {
	for i := 1; i < len(args); i++ {
		f := flagOf(flags, args[i])
		switch {
		case f != nil && takesNext(f, args[i]):
			i++
			continue
		case strings.HasPrefix(args[i], "-"):
			continue
		}
		k := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.HasName(args[i]) })
		if k < 0 {
			return args
		}
		c, head, tail := commands[k], args[:i+1:i+1], args[i+1:]
		if len(c.Subcommands) > 0 {
			return append(args[:i:i], optionsFirst(args[i:], c.Flags, c.Subcommands)...)
		}
		return append(head, partition(tail, c.Flags, c.Name == "exec" || c.Name == "ps")...)
	}
	return args
}

// partition keeps the order of the options and that of the rest. A short
// option that the command does not have stays where it is: "kill ID -9" has a
// wrong signal, not a wrong option. With stop, the first of the rest ends it.
func partition(args []string, flags []cli.Flag, stop bool) []string {
	var options, rest []string
	for i := 0; i < len(args); i++ {
		a := args[i]
		if a == "--" {
			return slices.Concat(options, []string{"--"}, rest, args[i+1:])
		}
		f := flagOf(flags, a)
		switch {
		case f != nil && takesNext(f, a) && i+1 < len(args):
			i++
			options = append(options, firstName(f, a), args[i])
		case f != nil:
			options = append(options, firstName(f, a))
		case strings.HasPrefix(a, "--"):
			options = append(options, a)
		case stop:
			return append(options, args[i:]...)
		default:
			rest = append(rest, a)
		}
	}
	return append(options, rest...)
}

// flagOf is the flag that an argument names, or nil.
func flagOf(flags []cli.Flag, arg string) cli.Flag {
	name, ok := strings.CutPrefix(arg, "-")
	if !ok {
		return nil
	}
	name, _, _ = strings.Cut(strings.TrimPrefix(name, "-"), "=")
	for _, f := range append(flags[:len(flags):len(flags)], cli.HelpFlag) {
		if slices.Contains(f.Names(), name) {
			return f
		}
	}
	return nil
}

// takesNext tells whether the argument after arg is the value of f.
func takesNext(f cli.Flag, arg string) bool {
	d, ok := f.(cli.DocGenerationFlag)
	return ok && d.TakesValue() && !strings.Contains(arg, "=")
}

// firstName spells an option by its flag's first name: the parser refuses a
// command line that has both -e and --env.
func firstName(f cli.Flag, arg string) string {
	first := "--" + f.Names()[0]
	if _, value, ok := strings.Cut(arg, "="); ok {
		return first + "=" + value
	}
	return first
}
