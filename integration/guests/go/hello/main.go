// The smallest thing that people write in Go: what `make bench` starts.
package main

import "fmt"

func main() { fmt.Println("hello from Go") }
