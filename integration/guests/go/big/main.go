// A program of the size of a real service: an HTTP handler with JSON, served once in
// memory, for preview1 opens no socket.
package main

import (
	"encoding/json"
	"fmt"
	"go/parser"
	"net/http"
	"net/http/httptest"
	"os"
	"time"
)

type reply struct {
	Method string    `json:"method"`
	Path   string    `json:"path"`
	When   time.Time `json:"when"`
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "sleep" {
		fmt.Println("asleep")
		time.Sleep(time.Hour)
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(reply{r.Method, r.URL.Path, time.Now()})
	})
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/ready", nil))
	var got reply
	if err := json.Unmarshal(recorder.Body.Bytes(), &got); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	// A parser, as many services carry one (templates, queries, expressions).
	expr, err := parser.ParseExpr("1 + 2")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(got.Method, got.Path, recorder.Code, expr.End())
}
