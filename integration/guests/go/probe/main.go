// The probe of the Go guests: the verbs that every language's probe has.
package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"
)

func main() {
	verb, arg := "hello", ""
	if len(os.Args) > 1 {
		verb = os.Args[1]
	}
	if len(os.Args) > 2 {
		arg = os.Args[2]
	}
	if err := do(verb, arg); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func do(verb, arg string) error {
	switch verb {
	case "hello":
		fmt.Println("hello from Go")
	case "exit":
		code, err := strconv.Atoi(arg)
		if err != nil {
			return err
		}
		os.Exit(code)
	case "trap":
		panic("trapped")
	case "sleep":
		seconds, err := strconv.Atoi(arg)
		if err != nil {
			return err
		}
		fmt.Println("asleep")
		time.Sleep(time.Duration(seconds) * time.Second)
	case "cat":
		_, err := io.Copy(os.Stdout, os.Stdin)
		return err
	case "env":
		for _, pair := range os.Environ() {
			fmt.Println(pair)
		}
	case "read":
		content, err := os.ReadFile(arg)
		if err != nil {
			return err
		}
		_, err = os.Stdout.Write(content)
		return err
	case "goroutines":
		fmt.Println("sum", sum(1000))
	default:
		return fmt.Errorf("no verb %s", verb)
	}
	return nil
}

func sum(workers int) int {
	var (
		mu    sync.Mutex
		group sync.WaitGroup
		total int
	)
	for i := range workers {
		group.Go(func() {
			time.Sleep(time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			total += i
		})
	}
	group.Wait()
	return total
}
