// Package hostfuncs is everything a guest can import: WASI preview1, complete,
// on one table of descriptors, WasmEdge's sockets and WASI-NN. It imports no
// engine; pkg/hostfuncs/abi is what both sides know.
//
//	        guest                        engine (pkg/aot)
//	          │ call                          │ Check, New, Link
//	          ▼                               ▼
//	abi.Func{fd_write, (i32,i32,i32,i32)->i32, Call}
//	          │                              host.go: bind, [trace.go]
//	          ▼
//	┌ Host ─────────────────────────────────────────────────────────────────────────────┐
//	│ proc.go   clock.go   poll.go, poll_event.go   sock.go   fs.go …  path.go …        │
//	│ args_*    clock_*    poll_oneoff              sock_*    fd_*     path_*           │
//	│ environ_*                │                      │         │         │             │
//	│ proc_*                   │                      │         │         │ resolve.go  │
//	│ random_get               │                      │         │         │ walk.go     │
//	│ sched_yield              ▼                      ▼         ▼         ▼ procguard.go│
//	│   table.go: the guest's fd ──▶ entry{the host's fd, kind, flags, rights}          │
//	└─────────────────────────────────│─────────────────────────────────────────────────┘
//	                                  ▼
//	             Linux: readv, openat2, ppoll, recvmsg, getrandom …
//
// A function goes into the file of its family: one line in the family's slice,
// with its type and the names a trace shows, and one method of Host that checks
// every pointer before it acts. A new family is a new file and a line in
// preview1.go. What a system call needs in unsafe is in *_unsafe.go.
//
// The functions of wasi_snapshot_preview1:
//
//	proc.go      args_get args_sizes_get environ_get environ_sizes_get
//	             proc_exit proc_raise random_get sched_yield
//	clock.go     clock_res_get clock_time_get
//	poll.go      poll_oneoff
//	sock.go      sock_accept sock_recv sock_send sock_shutdown
//	fs.go        fd_advise fd_allocate fd_close fd_datasync fd_fdstat_get
//	             fd_fdstat_set_flags fd_fdstat_set_rights fd_filestat_get
//	             fd_filestat_set_size fd_filestat_set_times fd_pread
//	             fd_prestat_dir_name fd_prestat_get fd_pwrite fd_read fd_readdir
//	             fd_renumber fd_seek fd_sync fd_tell fd_write
//	             (bodies: fs.go, fs_io.go, fs_stat.go, readdir.go)
//	wasmedge.go  the table of WasmEdge's sockets: sock_open sock_bind sock_listen
//	             sock_accept sock_connect sock_recv_from sock_send_to
//	             sock_getsockopt sock_setsockopt sock_getlocaladdr
//	             sock_getpeeraddr sock_getaddrinfo epoll_oneoff
//	             (bodies: sock_open.go, sock_data.go, sock_addr.go, sock_unix.go,
//	             getaddrinfo.go, names.go; what is allowed: netpolicy.go; waiting
//	             for many: epoll.go, epoll_wait.go)
//	path.go      path_create_directory path_filestat_get
//	             path_filestat_set_times path_link path_open path_readlink
//	             path_remove_directory path_rename path_symlink path_unlink_file
//	             (bodies: path.go, path_open.go; the way there: resolve.go,
//	             walk.go, procguard.go)
//
// The functions of wasi_ephemeral_nn, whose work is done in another process:
//
//	nn.go        load load_by_name load_by_name_with_config
//	             init_execution_context set_input compute get_output
//	             compute_single get_output_single fini_single unload
//	             finalize_execution_context
//	             (loading: nn_load.go; behind Inference: pkg/accel/wire)
//
// sock_recv, sock_send, fd_read, fd_write and poll_oneoff have a second, shorter
// body in native.c, which an engine may try first: the plain case of a server's
// sockets, without Go. native.go tells it what it may use.
package hostfuncs
