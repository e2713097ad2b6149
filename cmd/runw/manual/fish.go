package manual

import (
	"fmt"
	"strings"
)

// Fish is a completion for fish 3.
func Fish(root *Command) string {
	name := root.Path[0]
	var valued []string
	for _, f := range root.Flags {
		if f.Value {
			valued = append(valued, f.Names...)
		}
	}
	var b strings.Builder
	b.WriteString(strings.NewReplacer("NAME", name, "VALUED", strings.Join(valued, " ")).Replace(fishScript))
	root.Walk(func(c *Command) {
		at := quote("__" + name + "_at " + strings.Join(c.Path[1:], " "))
		line := func(format string, args ...any) {
			fmt.Fprintf(&b, "complete -c %s -n %s ", name, at)
			fmt.Fprintf(&b, format+"\n", args...)
		}
		for _, sub := range c.Commands {
			line("-f -a %s -d %s", sub.Path[len(sub.Path)-1], quote(sub.Usage))
		}
		if c.Container() {
			line("-f -a '(%s list -q 2>/dev/null)'", name)
		}
		for _, f := range c.Flags {
			line("%s-d %s", fishNames(f), quote(f.Usage))
		}
	})
	return b.String()
}

func fishNames(f Flag) string {
	var b strings.Builder
	for _, n := range f.Names {
		if long, ok := strings.CutPrefix(n, "--"); ok {
			b.WriteString("-l " + long + " ")
		} else {
			b.WriteString("-s " + n[1:] + " ")
		}
	}
	if f.Value {
		b.WriteString("-r ")
	}
	return b.String()
}

// The position is told by the commands so far: an argument that follows them
// ends it.
const fishScript = `# fish completion of NAME, generated from its commands.

function __NAME_at
    set -l words (commandline -opc)
    set -l path
    set -l skip 0
    for word in $words[2..-1]
        if test $skip = 1
            set skip 0
        else if contains -- $word VALUED
            set skip 1
        else if not string match -q -- '-*' $word
            set -a path $word
        end
    end
    test "$path" = "$argv"
end

`
