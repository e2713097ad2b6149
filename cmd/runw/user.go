package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"

	"github.com/moby/sys/userns"
)

func inUserNamespace() bool { return userns.RunningInUserNS() }

// homeOfOwner looks up the home directory of the user that runw runs for: in a
// user namespace that is the one which the namespace's own id is mapped to.
func homeOfOwner() (string, error) {
	uid, err := ownerUID(os.Geteuid())
	if err != nil {
		return "", err
	}
	u, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return "", fmt.Errorf("neither $XDG_CACHE_HOME nor $HOME is set: %w", err)
	}
	return u.HomeDir, nil
}

// ownerUID maps a uid of this user namespace to its parent's by
// /proc/self/uid_map (user_namespaces(7)).
func ownerUID(inside int) (int, error) {
	f, err := os.Open("/proc/self/uid_map")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var first, outside, count int
		if _, err := fmt.Sscan(lines.Text(), &first, &outside, &count); err != nil {
			return 0, err
		}
		if inside >= first && inside-first < count {
			return outside + inside - first, nil
		}
	}
	if err := lines.Err(); err != nil {
		return 0, err
	}
	return 0, errors.New("uid is not mapped in /proc/self/uid_map")
}
