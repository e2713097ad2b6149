package hostfuncs

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Errno is a WASI preview1 error number; 0 is success.
type Errno uint32

// The numbers of wasi_snapshot_preview1 (witx errno).
const (
	errnoSuccess        Errno = 0
	errnoTooBig         Errno = 1
	errnoAcces          Errno = 2
	errnoAddrinuse      Errno = 3
	errnoAddrnotavail   Errno = 4
	errnoAfnosupport    Errno = 5
	errnoAgain          Errno = 6
	errnoAlready        Errno = 7
	errnoBadf           Errno = 8
	errnoBadmsg         Errno = 9
	errnoBusy           Errno = 10
	errnoCanceled       Errno = 11
	errnoChild          Errno = 12
	errnoConnaborted    Errno = 13
	errnoConnrefused    Errno = 14
	errnoConnreset      Errno = 15
	errnoDeadlk         Errno = 16
	errnoDestaddrreq    Errno = 17
	errnoDom            Errno = 18
	errnoDquot          Errno = 19
	errnoExist          Errno = 20
	errnoFault          Errno = 21
	errnoFbig           Errno = 22
	errnoHostunreach    Errno = 23
	errnoIdrm           Errno = 24
	errnoIlseq          Errno = 25
	errnoInprogress     Errno = 26
	errnoIntr           Errno = 27
	errnoInval          Errno = 28
	errnoIo             Errno = 29
	errnoIsconn         Errno = 30
	errnoIsdir          Errno = 31
	errnoLoop           Errno = 32
	errnoMfile          Errno = 33
	errnoMlink          Errno = 34
	errnoMsgsize        Errno = 35
	errnoMultihop       Errno = 36
	errnoNametoolong    Errno = 37
	errnoNetdown        Errno = 38
	errnoNetreset       Errno = 39
	errnoNetunreach     Errno = 40
	errnoNfile          Errno = 41
	errnoNobufs         Errno = 42
	errnoNodev          Errno = 43
	errnoNoent          Errno = 44
	errnoNoexec         Errno = 45
	errnoNolck          Errno = 46
	errnoNolink         Errno = 47
	errnoNomem          Errno = 48
	errnoNomsg          Errno = 49
	errnoNoprotoopt     Errno = 50
	errnoNospc          Errno = 51
	errnoNosys          Errno = 52
	errnoNotconn        Errno = 53
	errnoNotdir         Errno = 54
	errnoNotempty       Errno = 55
	errnoNotrecoverable Errno = 56
	errnoNotsock        Errno = 57
	errnoNotsup         Errno = 58
	errnoNotty          Errno = 59
	errnoNxio           Errno = 60
	errnoOverflow       Errno = 61
	errnoOwnerdead      Errno = 62
	errnoPerm           Errno = 63
	errnoPipe           Errno = 64
	errnoProto          Errno = 65
	errnoProtonosupport Errno = 66
	errnoPrototype      Errno = 67
	errnoRange          Errno = 68
	errnoRofs           Errno = 69
	errnoSpipe          Errno = 70
	errnoSrch           Errno = 71
	errnoStale          Errno = 72
	errnoTimedout       Errno = 73
	errnoTxtbsy         Errno = 74
	errnoXdev           Errno = 75
	errnoNotcapable     Errno = 76

	// WasmEdge's additions for sock_getaddrinfo.
	errnoAiaddrfamily Errno = 77
	errnoAiagain      Errno = 78
	errnoAibadflag    Errno = 79
	errnoAifail       Errno = 80
	errnoAifamily     Errno = 81
	errnoAimemory     Errno = 82
	errnoAinodata     Errno = 83
	errnoAinoname     Errno = 84
	errnoAiservice    Errno = 85
	errnoAisocktype   Errno = 86
	errnoAisystem     Errno = 87
)

// errnoNames is what traces and tests print, indexed by Errno.
var errnoNames = [...]string{
	"SUCCESS",
	errnoTooBig:         "2BIG",
	errnoAcces:          "ACCES",
	errnoAddrinuse:      "ADDRINUSE",
	errnoAddrnotavail:   "ADDRNOTAVAIL",
	errnoAfnosupport:    "AFNOSUPPORT",
	errnoAgain:          "AGAIN",
	errnoAlready:        "ALREADY",
	errnoBadf:           "BADF",
	errnoBadmsg:         "BADMSG",
	errnoBusy:           "BUSY",
	errnoCanceled:       "CANCELED",
	errnoChild:          "CHILD",
	errnoConnaborted:    "CONNABORTED",
	errnoConnrefused:    "CONNREFUSED",
	errnoConnreset:      "CONNRESET",
	errnoDeadlk:         "DEADLK",
	errnoDestaddrreq:    "DESTADDRREQ",
	errnoDom:            "DOM",
	errnoDquot:          "DQUOT",
	errnoExist:          "EXIST",
	errnoFault:          "FAULT",
	errnoFbig:           "FBIG",
	errnoHostunreach:    "HOSTUNREACH",
	errnoIdrm:           "IDRM",
	errnoIlseq:          "ILSEQ",
	errnoInprogress:     "INPROGRESS",
	errnoIntr:           "INTR",
	errnoInval:          "INVAL",
	errnoIo:             "IO",
	errnoIsconn:         "ISCONN",
	errnoIsdir:          "ISDIR",
	errnoLoop:           "LOOP",
	errnoMfile:          "MFILE",
	errnoMlink:          "MLINK",
	errnoMsgsize:        "MSGSIZE",
	errnoMultihop:       "MULTIHOP",
	errnoNametoolong:    "NAMETOOLONG",
	errnoNetdown:        "NETDOWN",
	errnoNetreset:       "NETRESET",
	errnoNetunreach:     "NETUNREACH",
	errnoNfile:          "NFILE",
	errnoNobufs:         "NOBUFS",
	errnoNodev:          "NODEV",
	errnoNoent:          "NOENT",
	errnoNoexec:         "NOEXEC",
	errnoNolck:          "NOLCK",
	errnoNolink:         "NOLINK",
	errnoNomem:          "NOMEM",
	errnoNomsg:          "NOMSG",
	errnoNoprotoopt:     "NOPROTOOPT",
	errnoNospc:          "NOSPC",
	errnoNosys:          "NOSYS",
	errnoNotconn:        "NOTCONN",
	errnoNotdir:         "NOTDIR",
	errnoNotempty:       "NOTEMPTY",
	errnoNotrecoverable: "NOTRECOVERABLE",
	errnoNotsock:        "NOTSOCK",
	errnoNotsup:         "NOTSUP",
	errnoNotty:          "NOTTY",
	errnoNxio:           "NXIO",
	errnoOverflow:       "OVERFLOW",
	errnoOwnerdead:      "OWNERDEAD",
	errnoPerm:           "PERM",
	errnoPipe:           "PIPE",
	errnoProto:          "PROTO",
	errnoProtonosupport: "PROTONOSUPPORT",
	errnoPrototype:      "PROTOTYPE",
	errnoRange:          "RANGE",
	errnoRofs:           "ROFS",
	errnoSpipe:          "SPIPE",
	errnoSrch:           "SRCH",
	errnoStale:          "STALE",
	errnoTimedout:       "TIMEDOUT",
	errnoTxtbsy:         "TXTBSY",
	errnoXdev:           "XDEV",
	errnoNotcapable:     "NOTCAPABLE",
	errnoAiaddrfamily:   "AIADDRFAMILY",
	errnoAiagain:        "AIAGAIN",
	errnoAibadflag:      "AIBADFLAG",
	errnoAifail:         "AIFAIL",
	errnoAifamily:       "AIFAMILY",
	errnoAimemory:       "AIMEMORY",
	errnoAinodata:       "AINODATA",
	errnoAinoname:       "AINONAME",
	errnoAiservice:      "AISERVICE",
	errnoAisocktype:     "AISOCKTYPE",
	errnoAisystem:       "AISYSTEM",
}

// String gives the witx name without its prefix, such as "NOENT".
func (e Errno) String() string {
	if int(e) < len(errnoNames) {
		return errnoNames[e]
	}
	return "UNKNOWN"
}

// errnoOf maps what Linux answered to the WASI number of the same name.
// A nil error is success; an error that is no unix.Errno is IO.
func errnoOf(err error) Errno {
	if err == nil {
		return errnoSuccess
	}
	// errors.As allocates, and most errors are bare.
	if n, ok := err.(unix.Errno); ok {
		return fromUnix(n)
	}
	var n unix.Errno
	if !errors.As(err, &n) {
		return errnoIo
	}
	return fromUnix(n)
}

// linuxErrnos maps the kernel's numbers to those of the same name, and EOPNOTSUPP
// to NOTSUP, which is one number on Linux. A zero means that witx has no such
// name.
var linuxErrnos = [...]Errno{
	unix.EOPNOTSUPP:      errnoNotsup,
	unix.E2BIG:           errnoTooBig,
	unix.EACCES:          errnoAcces,
	unix.EADDRINUSE:      errnoAddrinuse,
	unix.EADDRNOTAVAIL:   errnoAddrnotavail,
	unix.EAFNOSUPPORT:    errnoAfnosupport,
	unix.EAGAIN:          errnoAgain,
	unix.EALREADY:        errnoAlready,
	unix.EBADF:           errnoBadf,
	unix.EBADMSG:         errnoBadmsg,
	unix.EBUSY:           errnoBusy,
	unix.ECANCELED:       errnoCanceled,
	unix.ECHILD:          errnoChild,
	unix.ECONNABORTED:    errnoConnaborted,
	unix.ECONNREFUSED:    errnoConnrefused,
	unix.ECONNRESET:      errnoConnreset,
	unix.EDEADLK:         errnoDeadlk,
	unix.EDESTADDRREQ:    errnoDestaddrreq,
	unix.EDOM:            errnoDom,
	unix.EDQUOT:          errnoDquot,
	unix.EEXIST:          errnoExist,
	unix.EFAULT:          errnoFault,
	unix.EFBIG:           errnoFbig,
	unix.EHOSTUNREACH:    errnoHostunreach,
	unix.EIDRM:           errnoIdrm,
	unix.EILSEQ:          errnoIlseq,
	unix.EINPROGRESS:     errnoInprogress,
	unix.EINTR:           errnoIntr,
	unix.EINVAL:          errnoInval,
	unix.EIO:             errnoIo,
	unix.EISCONN:         errnoIsconn,
	unix.EISDIR:          errnoIsdir,
	unix.ELOOP:           errnoLoop,
	unix.EMFILE:          errnoMfile,
	unix.EMLINK:          errnoMlink,
	unix.EMSGSIZE:        errnoMsgsize,
	unix.EMULTIHOP:       errnoMultihop,
	unix.ENAMETOOLONG:    errnoNametoolong,
	unix.ENETDOWN:        errnoNetdown,
	unix.ENETRESET:       errnoNetreset,
	unix.ENETUNREACH:     errnoNetunreach,
	unix.ENFILE:          errnoNfile,
	unix.ENOBUFS:         errnoNobufs,
	unix.ENODEV:          errnoNodev,
	unix.ENOENT:          errnoNoent,
	unix.ENOEXEC:         errnoNoexec,
	unix.ENOLCK:          errnoNolck,
	unix.ENOLINK:         errnoNolink,
	unix.ENOMEM:          errnoNomem,
	unix.ENOMSG:          errnoNomsg,
	unix.ENOPROTOOPT:     errnoNoprotoopt,
	unix.ENOSPC:          errnoNospc,
	unix.ENOSYS:          errnoNosys,
	unix.ENOTCONN:        errnoNotconn,
	unix.ENOTDIR:         errnoNotdir,
	unix.ENOTEMPTY:       errnoNotempty,
	unix.ENOTRECOVERABLE: errnoNotrecoverable,
	unix.ENOTSOCK:        errnoNotsock,
	unix.ENOTTY:          errnoNotty,
	unix.ENXIO:           errnoNxio,
	unix.EOVERFLOW:       errnoOverflow,
	unix.EOWNERDEAD:      errnoOwnerdead,
	unix.EPERM:           errnoPerm,
	unix.EPIPE:           errnoPipe,
	unix.EPROTO:          errnoProto,
	unix.EPROTONOSUPPORT: errnoProtonosupport,
	unix.EPROTOTYPE:      errnoPrototype,
	unix.ERANGE:          errnoRange,
	unix.EROFS:           errnoRofs,
	unix.ESPIPE:          errnoSpipe,
	unix.ESRCH:           errnoSrch,
	unix.ESTALE:          errnoStale,
	unix.ETIMEDOUT:       errnoTimedout,
	unix.ETXTBSY:         errnoTxtbsy,
	unix.EXDEV:           errnoXdev,
}

// fromUnix is errnoOf for a bare kernel number; it does not allocate.
func fromUnix(n unix.Errno) Errno {
	switch {
	case n == 0:
		return errnoSuccess
	case uint64(n) < uint64(len(linuxErrnos)) && linuxErrnos[n] != errnoSuccess:
		return linuxErrnos[n]
	}
	return errnoIo
}
