// Package manual writes man pages and shell completions from the commands as
// the command line itself has them, so that neither can fall behind.
//
//	newApp (cmd/runw) ──▶ New: a tree of Commands ──▶ Write ──▶ man8/runw.8, runw-create.8, …
//	                                                            bash, zsh and fish completions
//
// It runs when runw is built (make docs) and is no part of the binary.
package manual
