// Command runw-accel is inference for the modules of one container: a process
// beside the container that loads the libraries of the host. `runw create`
// starts and confines it (pkg/sandbox, accel_linux.c); by hand there is nothing
// to do with it.
//
//	runw-accel serve     supervisor: waits for the engine on descriptor 3
//	  └ runw-accel worker  loads libraries and models, answers the engine; one at
//	                       a time, another when it has ended
//	runw-accel cdi       adds the devices that a config.json's annotations name
//	runw-accel list      what libraries and devices there are, as JSON
//
// It is a program of its own because purego makes it a dynamic one, while the
// engine has to run in root filesystems without a loader.
//
// Where does my code go? Here, if it is about these processes and what they are
// told. What is said between engine and worker is pkg/accel/wire's, what a
// library does is its backend's, what the processes may do pkg/sandbox's.
package main
