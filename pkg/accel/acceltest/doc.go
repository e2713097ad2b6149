// Package acceltest is a backend without a library, in a real worker process,
// for tests of what lies between a guest and a backend.
//
//	test ── wire.Client ── supervisor (a goroutine) ── worker (the test binary again)
//	                                                    │ wire.Serve
//	                                                    ▼
//	                                                   Backend: does what the model says
//
// A test's TestMain calls Main first, which makes the process a worker if it was
// started as one; Start then gives a test its supervisor.
//
// Where does my code go? Here, if the tests of two packages need it.
package acceltest
