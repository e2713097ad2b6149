package manual

import (
	"fmt"
	"strings"
)

// Zsh is a completion function for zsh's compsys.
func Zsh(root *Command) string {
	var b strings.Builder
	name := root.Path[0]
	fmt.Fprintf(&b, "#compdef %s\n# zsh completion of %s, generated from its commands.\n\n", name, name)
	fmt.Fprintf(&b, "_%s_containers() {\n  local -a ids\n  ids=(${(f)\"$(%s list -q 2>/dev/null)\"})\n  compadd -a ids\n}\n\n", name, name)
	root.Walk(func(c *Command) { zshFunction(&b, name, c) })
	fmt.Fprintf(&b, "_%s \"$@\"\n", name)
	return b.String()
}

func zshFunction(b *strings.Builder, name string, c *Command) {
	fmt.Fprintf(b, "%s() {\n", zshName(c))
	if len(c.Commands) > 0 {
		b.WriteString("  local curcontext=$curcontext state line\n  typeset -A opt_args\n")
	}
	b.WriteString("  _arguments -s -S")
	if len(c.Commands) > 0 {
		b.WriteString(" -C")
	}
	for _, f := range c.Flags {
		fmt.Fprintf(b, " \\\n    %s", zshFlag(f))
	}
	switch {
	case len(c.Commands) > 0:
		b.WriteString(" \\\n    '1: :->command' \\\n    '*:: :->arguments'\n  case $state in\n  command)\n    local -a commands=(\n")
		for _, sub := range c.Commands {
			fmt.Fprintf(b, "      %s\n", quote(sub.Path[len(sub.Path)-1]+":"+strings.ReplaceAll(sub.Usage, ":", `\:`)))
		}
		b.WriteString("    )\n    _describe command commands\n    ;;\n  arguments)\n    case $line[1] in\n")
		for _, sub := range c.Commands {
			fmt.Fprintf(b, "    %s) %s ;;\n", sub.Path[len(sub.Path)-1], zshName(sub))
		}
		b.WriteString("    esac\n    ;;\n  esac\n")
	case c.Container():
		fmt.Fprintf(b, " \\\n    '1:container:_%s_containers' \\\n    '*::argument:_default'\n", name)
	default:
		b.WriteString(" \\\n    '*:argument:_files'\n")
	}
	b.WriteString("}\n\n")
}

func zshName(c *Command) string { return "_" + strings.Join(c.Path, "_") }

func zshFlag(f Flag) string {
	text := strings.NewReplacer("[", `\[`, "]", `\]`, ":", `\:`).Replace(f.Usage)
	spec := "[" + text + "]"
	if f.Value {
		spec += ":value:_files"
	}
	if len(f.Names) == 1 {
		return quote(f.Names[0] + spec)
	}
	return quote("("+strings.Join(f.Names, " ")+")") + "{" + strings.Join(f.Names, ",") + "}" + quote(spec)
}

// quote is for zsh and fish, which both take it.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
