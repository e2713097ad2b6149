;; The probe of the WAT guests. The verb is told by its first letter.
(module
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $environ_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 32)
  (data (i32.const 16) "hello from WAT\n")
  (data (i32.const 48) "asleep\n")
  (data (i32.const 64) "\n")

  ;; 0: an iovec {pointer, length}; 8: a result
  (func $print (param $ptr i32) (param $len i32)
    (i32.store (i32.const 0) (local.get $ptr))
    (i32.store (i32.const 4) (local.get $len))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))

  (func $length (param $ptr i32) (result i32) (local $end i32)
    (local.set $end (local.get $ptr))
    (block $done (loop $next
      (br_if $done (i32.eqz (i32.load8_u (local.get $end))))
      (local.set $end (i32.add (local.get $end) (i32.const 1)))
      (br $next)))
    (i32.sub (local.get $end) (local.get $ptr)))

  (func $number (param $ptr i32) (result i32) (local $n i32)
    (block $done (loop $next
      (br_if $done (i32.eqz (i32.load8_u (local.get $ptr))))
      (local.set $n (i32.add (i32.mul (local.get $n) (i32.const 10))
                             (i32.sub (i32.load8_u (local.get $ptr)) (i32.const 48))))
      (local.set $ptr (i32.add (local.get $ptr) (i32.const 1)))
      (br $next)))
    (local.get $n))

  ;; 128: a subscription to the monotonic clock, relative
  (func $sleep (param $seconds i32)
    (call $print (i32.const 48) (i32.const 7))
    (i32.store (i32.const 144) (i32.const 1))
    (i64.store (i32.const 152) (i64.mul (i64.extend_i32_u (local.get $seconds)) (i64.const 1000000000)))
    (drop (call $poll_oneoff (i32.const 128) (i32.const 256) (i32.const 1) (i32.const 8))))

  (func $cat
    (block $done (loop $next
      (i32.store (i32.const 0) (i32.const 1048576))
      (i32.store (i32.const 4) (i32.const 65536))
      (br_if $done (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
      (br_if $done (i32.eqz (i32.load (i32.const 8))))
      (call $print (i32.const 1048576) (i32.load (i32.const 8)))
      (br $next))))

  (func $env (local $i i32) (local $ptr i32)
    (drop (call $environ_sizes_get (i32.const 300) (i32.const 304)))
    (drop (call $environ_get (i32.const 65536) (i32.const 131072)))
    (block $done (loop $next
      (br_if $done (i32.ge_u (local.get $i) (i32.load (i32.const 300))))
      (local.set $ptr (i32.load (i32.add (i32.const 65536) (i32.mul (local.get $i) (i32.const 4)))))
      (call $print (local.get $ptr) (call $length (local.get $ptr)))
      (call $print (i32.const 64) (i32.const 1))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br $next))))

  (func (export "_start") (local $count i32) (local $verb i32) (local $arg i32)
    (drop (call $args_sizes_get (i32.const 300) (i32.const 304)))
    (drop (call $args_get (i32.const 65536) (i32.const 131072)))
    (local.set $count (i32.load (i32.const 300)))
    (local.set $verb (i32.const 104))
    (if (i32.ge_u (local.get $count) (i32.const 2))
      (then (local.set $verb (i32.load8_u (i32.load (i32.const 65540))))))
    (if (i32.ge_u (local.get $count) (i32.const 3))
      (then (local.set $arg (call $number (i32.load (i32.const 65544))))))
    (if (i32.eq (local.get $verb) (i32.const 104)) ;; hello
      (then (call $print (i32.const 16) (i32.const 15))))
    (if (i32.eq (local.get $verb) (i32.const 120)) ;; xit: e is env's
      (then (call $proc_exit (local.get $arg))))
    (if (i32.eq (local.get $verb) (i32.const 116)) ;; trap
      (then (unreachable)))
    (if (i32.eq (local.get $verb) (i32.const 115)) ;; sleep
      (then (call $sleep (local.get $arg))))
    (if (i32.eq (local.get $verb) (i32.const 99)) ;; cat
      (then (call $cat)))
    (if (i32.eq (local.get $verb) (i32.const 101)) ;; env
      (then (call $env)))))
