package main

import (
	"fmt"

	"github.com/runw/runw/pkg/hostfuncs"
)

// annotationNet says what a module may do on the network; see
// hostfuncs.ParseNetPolicy.
const annotationNet = "run.runw.net"

// netPolicy checks the annotation while somebody can still be told. An empty
// value is refused: whoever writes one does not mean "everything".
func netPolicy(annotations map[string]string) (string, error) {
	value, ok := annotations[annotationNet]
	if !ok {
		return "", nil
	}
	if value == "" {
		return "", fmt.Errorf("annotations[%q]: %w: is empty", annotationNet, hostfuncs.ErrNetPolicy)
	}
	if _, err := hostfuncs.ParseNetPolicy(value); err != nil {
		return "", fmt.Errorf("annotations[%q]: %w", annotationNet, err)
	}
	return value, nil
}
