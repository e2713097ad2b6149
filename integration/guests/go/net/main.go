//go:build wasip1

// The net guest: Go's own net/http on sockets of WasmEdge's extension, as a server and as a
// client.
//
//	net serve PORT          an HTTP server on 127.0.0.1
//	net get PORT PATH       an HTTP client of 127.0.0.1
//	net lookup NAME SERVICE the addresses of a name
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "net:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("want a verb and its arguments, not %q", args)
	}
	if args[0] == "lookup" {
		return lookup(args[1], args[2])
	}
	port, err := strconv.ParseUint(args[1], 10, 16)
	if err != nil {
		return err
	}
	if args[0] == "get" {
		return get(uint16(port), args[2])
	}
	listener, err := listen([4]byte{127, 0, 0, 1}, uint16(port))
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "Hello from Go.")
	})
	mux.HandleFunc("POST /sink", func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintln(w, n, "bytes")
	})
	fmt.Println("listening")
	return http.Serve(listener, mux)
}

func get(port uint16, path string) error {
	client := http.Client{Transport: &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			return dial([4]byte{127, 0, 0, 1}, port)
		},
	}}
	response, err := client.Get("http://127.0.0.1" + path)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	fmt.Println(response.Status)
	_, err = io.Copy(os.Stdout, response.Body)
	return err
}
