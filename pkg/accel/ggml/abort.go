package ggml

import (
	"context"
	"runtime"
	"sync/atomic"
)

// abort is how a context.Context stops the library.
//
// The library asks its abort callback, bool(void *data), before each node of a
// graph: thousands of times a token, from its own threads. A Go function there
// costs a few percent of the speed. So the callback is libc's strlen and data the
// flag: a word of 0 is the empty string, false; 1 is a string of one byte, true.
// The progress callback of loading, bool(float, void *data), gets data in the
// same register, as the float has a register of its own: there true goes on.
type abort struct {
	word   atomic.Uint32
	pinner runtime.Pinner
}

// newAbort gives a flag that the library may keep the address of until free.
func newAbort(value uint32) *abort {
	a := new(abort)
	a.word.Store(value)
	a.pinner.Pin(a)
	return a
}

func (a *abort) address() *atomic.Uint32 { return &a.word }

func (a *abort) free() { a.pinner.Unpin() }

// watch sets the flag to value when ctx ends, and back when done is called.
func (a *abort) watch(ctx context.Context, value uint32) (done func()) {
	before := a.word.Load()
	if ctx.Err() != nil { // what is short would be over before another goroutine ran
		a.word.Store(value)
		return func() { a.word.Store(before) }
	}
	set := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		a.word.Store(value)
		close(set)
	})
	return func() {
		if !stop() {
			<-set // else it might still be to come, and end the next call
		}
		a.word.Store(before)
	}
}
