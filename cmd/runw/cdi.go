package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/runw/runw/pkg/oci"
)

// cdiPrefix begins the annotations that name devices of the Container Device
// Interface.
const cdiPrefix = "cdi.k8s.io/"

// cdiDirs are where a host's drivers describe their devices; a later one wins.
func cdiDirs() []string { return []string{"/etc/cdi", "/var/run/cdi"} }

// injectCDI gives the specification what its annotations name. Engines that know
// CDI have done so when they call runw; this is for callers that leave it to the
// runtime. The helper does it: the package inits of CDI's library would be a part
// of each start.
func injectCDI(opts *options, spec *specs.Spec) error {
	wanted := false
	for key := range spec.Annotations {
		wanted = wanted || strings.HasPrefix(key, cdiPrefix)
	}
	if !wanted {
		return nil
	}
	s, err := accelSettingsOf(opts)
	if err != nil {
		return fmt.Errorf("CDI devices: %w", err)
	}
	args := []string{"cdi"}
	for _, dir := range cdiDirs() {
		if err := checkCDI(dir); err != nil {
			return err
		}
		args = append(args, "--cdi-dir", dir)
	}
	in, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	var out, words bytes.Buffer
	cmd := exec.Command(s.Helper, args...)
	cmd.Env = []string{}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &out, &words
	if err := cmd.Run(); err != nil {
		if text := strings.TrimSpace(words.String()); text != "" {
			return errors.New(text)
		}
		return fmt.Errorf("%s: %w", s.Helper, err)
	}
	*spec = specs.Spec{}
	if err := json.Unmarshal(out.Bytes(), spec); err != nil {
		return fmt.Errorf("%s: %w", s.Helper, err)
	}
	return oci.Validate(spec)
}

// checkCDI: what is described there becomes mounts of the host and hooks that
// run with the caller's rights.
func checkCDI(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return err
	}
	for _, path := range append(files, dir) {
		if err := checkOwned(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("CDI devices: %w", err)
		}
	}
	return nil
}
