package manual

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"
)

// Flag is one option, with all its names.
type Flag struct {
	// Names are with their dashes, the long one first.
	Names []string
	Usage string
	// Value tells that an argument follows, Default what it is when absent.
	Value   bool
	Default string
}

// Command is one command with everything below it; the program itself is the
// root.
type Command struct {
	// Path is the program's name, and the command's after it.
	Path  []string
	Usage string
	// Args is the line of arguments, More what is said about them, and
	// Description what is said about the command.
	Args, More, Description string
	Flags                   []Flag
	Commands                []*Command
}

// Name is "runw-aot-compile", the name of the page.
func (c *Command) Name() string { return strings.Join(c.Path, "-") }

// Container tells whether the first argument names a container.
func (c *Command) Container() bool { return strings.HasPrefix(c.Args, "<container-id>") }

// Walk visits c and everything below it.
func (c *Command) Walk(visit func(*Command)) {
	visit(c)
	for _, sub := range c.Commands {
		sub.Walk(visit)
	}
}

// New reads an application. What is hidden there is left out.
func New(app *cli.App) *Command {
	root := &Command{
		Path:        []string{app.Name},
		Usage:       app.Usage,
		Args:        "[options] command [arguments]",
		Description: app.Description,
		Flags:       flags(app.Flags),
	}
	root.Flags = append(root.Flags, Flag{Names: []string{"--version", "-v"}, Usage: "print the version"})
	root.add(app.Commands)
	return root
}

func (c *Command) add(list []*cli.Command) {
	for _, from := range list {
		if from.Hidden {
			continue
		}
		args, more, _ := strings.Cut(from.ArgsUsage, "\n")
		sub := &Command{
			Path:        append(c.Path[:len(c.Path):len(c.Path)], from.Name),
			Usage:       from.Usage,
			Args:        strings.TrimSpace(args),
			More:        strings.TrimSpace(more),
			Description: strings.TrimSpace(from.Description),
			Flags:       flags(from.Flags),
		}
		sub.add(from.Subcommands)
		c.Commands = append(c.Commands, sub)
	}
}

func flags(list []cli.Flag) []Flag {
	var out []Flag
	for _, from := range list {
		if v, ok := from.(cli.VisibleFlag); ok && !v.IsVisible() {
			continue
		}
		var f Flag
		for _, name := range from.Names() {
			dashes := "--"
			if len(name) == 1 {
				dashes = "-"
			}
			f.Names = append(f.Names, dashes+name)
		}
		if doc, ok := from.(cli.DocGenerationFlag); ok {
			f.Usage, f.Value = doc.GetUsage(), doc.TakesValue()
			if f.Value {
				f.Default = strings.Trim(doc.GetValue(), `"`)
			}
		}
		out = append(out, f)
	}
	return append(out, Flag{Names: []string{"--help", "-h"}, Usage: "show help"})
}

// Write puts everything below dir, under the names of a share directory
// (file-hierarchy(7)).
func Write(dir, version string, root *Command) error {
	name := root.Path[0]
	files := map[string]string{
		"bash-completion/completions/" + name:         Bash(root),
		"zsh/site-functions/_" + name:                 Zsh(root),
		"fish/vendor_completions.d/" + name + ".fish": Fish(root),
	}
	root.Walk(func(c *Command) { files["man/man8/"+c.Name()+".8"] = Man(root, c, version) })
	for file, content := range files {
		if !fs.ValidPath(file) {
			return fmt.Errorf("command name makes the path %q", file)
		}
		path := filepath.Join(dir, filepath.FromSlash(file))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}
