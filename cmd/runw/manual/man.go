package manual

import (
	"fmt"
	"strings"
)

// Man is the page of a command, in the macros of man(7). It has no date, so
// that the same sources give the same page.
func Man(root, c *Command, version string) string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p(`.TH "%s" 8 "" "%s %s"`, strings.ToUpper(roff(c.Name())), roff(root.Path[0]), roff(version))
	p(".SH NAME\n%s \\- %s", roff(c.Name()), roff(c.Usage))
	p(".SH SYNOPSIS\n%s", synopsis(c))
	if c.Description != "" {
		p(".SH DESCRIPTION\n%s", paragraphs(c.Description))
	}
	if c.More != "" {
		p(".SH ARGUMENTS\n%s", paragraphs(c.More))
	}
	p(".SH OPTIONS")
	for _, f := range c.Flags {
		p(".TP\n%s", flagTitle(f))
		p("%s", roff(f.Usage))
		if f.Default != "" && f.Default != "0" {
			p("(default: %s)", roff(f.Default))
		}
	}
	if len(c.Commands) > 0 {
		p(".SH COMMANDS")
		for _, sub := range c.Commands {
			p(".TP\n\\fB%s\\fR(8)\n%s", roff(sub.Name()), roff(sub.Usage))
		}
	}
	if len(c.Path) > 1 {
		p(".SH SEE ALSO\n\\fB%s\\fR(8)", roff(strings.Join(c.Path[:len(c.Path)-1], "-")))
	}
	return b.String()
}

func synopsis(c *Command) string {
	s := `\fB` + roff(strings.Join(c.Path, " ")) + `\fR`
	if len(c.Path) > 1 {
		if len(c.Commands) > 0 {
			return s + " command [arguments]"
		}
		s += " [options]"
	}
	return s + " " + roff(c.Args)
}

func flagTitle(f Flag) string {
	var names []string
	for _, n := range f.Names {
		names = append(names, `\fB`+roff(n)+`\fR`)
	}
	title := strings.Join(names, ", ")
	if f.Value {
		title += ` \fIvalue\fR`
	}
	return title
}

// paragraphs keeps blocks with indented lines, or of JSON, as they are and lets
// all others flow.
func paragraphs(text string) string {
	var out []string
	for block := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		if strings.HasPrefix(block, " ") || strings.Contains(block, "\n ") || strings.HasPrefix(block, "{") {
			out = append(out, ".PP\n.nf\n"+roff(block)+"\n.fi")
		} else {
			out = append(out, ".PP\n"+roff(block))
		}
	}
	return strings.Join(out, "\n")
}

// roff makes text safe for troff: backslashes, lines that would be requests,
// and dashes that people copy.
func roff(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		line = strings.NewReplacer(`\`, `\e`, "-", `\-`, `"`, `\(dq`).Replace(line)
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			line = `\&` + line
		}
		lines[i] = line
	}
	return strings.Join(lines, "\n")
}
