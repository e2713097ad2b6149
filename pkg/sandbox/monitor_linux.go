package sandbox

// Every pthread_create of the binary goes through monitor_linux.c.

// #cgo LDFLAGS: -Wl,--wrap=pthread_create
import "C"
