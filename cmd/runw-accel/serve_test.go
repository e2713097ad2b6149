package main

import (
	"slices"
	"testing"
)

// A node of many processors would have two for a model.
func TestWorkerEnv(t *testing.T) {
	got := workerEnv([]string{"GOMAXPROCS=2", "HOME=/tmp", "LC_ALL=C"})
	if want := []string{"HOME=/tmp", "LC_ALL=C"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
