package manual

import (
	"fmt"
	"strings"
)

// Bash is a completion for bash 4 and later. It needs nothing of
// bash-completion, and asks runw for nothing but the containers' ids.
func Bash(root *Command) string {
	name := root.Path[0]
	var flags, valued, commands, ids strings.Builder
	root.Walk(func(c *Command) {
		key := strings.Join(c.Path[1:], " ")
		var all, with, subs []string
		for _, f := range c.Flags {
			all = append(all, f.Names...)
			if f.Value {
				with = append(with, f.Names...)
			}
		}
		for _, sub := range c.Commands {
			subs = append(subs, sub.Path[len(sub.Path)-1])
		}
		row := func(b *strings.Builder, words []string) {
			fmt.Fprintf(b, "    %q) echo %q ;;\n", key, strings.Join(words, " "))
		}
		row(&flags, all)
		row(&valued, with)
		row(&commands, subs)
		if c.Container() {
			fmt.Fprintf(&ids, "    %q) return 0 ;;\n", key)
		}
	})
	return strings.NewReplacer("NAME", name, "FLAGS\n", flags.String(), "VALUED\n", valued.String(),
		"COMMANDS\n", commands.String(), "IDS\n", ids.String()).Replace(bashScript)
}

const bashScript = `# bash completion of NAME, generated from its commands.

_NAME_flags() {
  case "$1" in
FLAGS
  esac
}

_NAME_valued() {
  case "$1" in
VALUED
  esac
}

_NAME_commands() {
  case "$1" in
COMMANDS
  esac
}

_NAME_container() {
  case "$1" in
IDS
  esac
  return 1
}

_NAME() {
  local cur=${COMP_WORDS[COMP_CWORD]} path= word= i=1 args=0 wants=
  local root=()
  COMPREPLY=()
  while ((i < COMP_CWORD)); do
    word=${COMP_WORDS[i]}
    wants=
    case "$word" in
    -*)
      if [[ " $(_NAME_valued "$path") " == *" $word "* ]]; then
        # "=" is a word of its own (COMP_WORDBREAKS).
        [[ ${COMP_WORDS[i + 1]-} != = ]] || ((i++))
        ((++i < COMP_CWORD)) || wants=value
        [[ $word != --root ]] || root=(--root "${COMP_WORDS[i]}")
      fi
      ;;
    *)
      if ((args == 0)) && [[ " $(_NAME_commands "$path") " == *" $word "* ]]; then
        path=${path:+$path }$word
      else
        ((args += 1))
      fi
      ;;
    esac
    ((i += 1))
  done
  if [[ $wants == value ]]; then
    compopt -o default
  elif [[ $cur == -* ]] && ((args == 0)); then
    COMPREPLY=($(compgen -W "$(_NAME_flags "$path")" -- "$cur"))
  elif ((args == 0)) && [[ -n $(_NAME_commands "$path") ]]; then
    COMPREPLY=($(compgen -W "$(_NAME_commands "$path")" -- "$cur"))
  elif ((args == 0)) && _NAME_container "$path"; then
    COMPREPLY=($(compgen -W "$(NAME "${root[@]}" list -q 2>/dev/null)" -- "$cur"))
  else
    compopt -o default
  fi
}

complete -F _NAME NAME
`
