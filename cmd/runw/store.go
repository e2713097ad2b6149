package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/runw/runw/pkg/aot"
	"github.com/sirupsen/logrus"
)

// openStore gives nil, and says why, when there is no usable store: then each
// start compiles.
func openStore(opts *options) *aot.Store {
	store, err := needStore(opts)
	if err != nil {
		logrus.Warnf("native code is not kept: %v", err)
		return nil
	}
	return store
}

// needStore opens the store for a command that is about it.
func needStore(opts *options) (*aot.Store, error) {
	dir := opts.aotDir
	if dir == "" {
		var err error
		if dir, err = defaultStoreDir(); err != nil {
			return nil, err
		}
	}
	store, err := aot.OpenStore(dir)
	if err != nil {
		return nil, err
	}
	store.MaxSize = opts.aotMaxSize
	return store, nil
}

// defaultStoreDir is where native code is kept unless --aot-dir says otherwise.
func defaultStoreDir() (string, error) {
	if os.Geteuid() == 0 && !inUserNamespace() {
		return "/var/lib/runw/aot", nil
	}
	cache, err := os.UserCacheDir()
	if err == nil {
		return cache + "/runw/aot", nil
	}
	// podman calls a rootless runtime with an almost empty environment.
	home, err := homeOfOwner()
	if err != nil {
		return "", err
	}
	return home + "/.cache/runw/aot", nil
}

// storeSize reads --aot-max-size, in the form Store.MaxSize has: a size in
// bytes; "" is 0, the default, and "none" -1.
func storeSize(s string) (int64, error) {
	switch s {
	case "":
		return 0, nil
	case "none":
		return -1, nil
	}
	n, err := parseBytes(s)
	if err == nil && n <= 0 {
		err = fmt.Errorf("invalid size: %q", s)
	}
	return n, err
}

// storeAge reads a duration, with days as well: 12h30m, 7d. "" is 0.
func storeAge(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(s)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		var n uint64
		if n, err = strconv.ParseUint(days, 10, 16); err == nil {
			d = time.Duration(n) * 24 * time.Hour
		}
	}
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("invalid duration: %q, want one like 90m or 7d", s)
	}
	return d, nil
}
