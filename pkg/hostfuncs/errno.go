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
	var n unix.Errno
	if !errors.As(err, &n) {
		return errnoIo
	}
	return fromUnix(n)
}

// fromUnix is errnoOf for a bare kernel number; it does not allocate.
func fromUnix(n unix.Errno) Errno {
	switch n {
	case 0:
		return errnoSuccess
	case unix.EOPNOTSUPP:
		return errnoNotsup
	case unix.E2BIG:
		return errnoTooBig
	case unix.EACCES:
		return errnoAcces
	case unix.EADDRINUSE:
		return errnoAddrinuse
	case unix.EADDRNOTAVAIL:
		return errnoAddrnotavail
	case unix.EAFNOSUPPORT:
		return errnoAfnosupport
	case unix.EAGAIN:
		return errnoAgain
	case unix.EALREADY:
		return errnoAlready
	case unix.EBADF:
		return errnoBadf
	case unix.EBADMSG:
		return errnoBadmsg
	case unix.EBUSY:
		return errnoBusy
	case unix.ECANCELED:
		return errnoCanceled
	case unix.ECHILD:
		return errnoChild
	case unix.ECONNABORTED:
		return errnoConnaborted
	case unix.ECONNREFUSED:
		return errnoConnrefused
	case unix.ECONNRESET:
		return errnoConnreset
	case unix.EDEADLK:
		return errnoDeadlk
	case unix.EDESTADDRREQ:
		return errnoDestaddrreq
	case unix.EDOM:
		return errnoDom
	case unix.EDQUOT:
		return errnoDquot
	case unix.EEXIST:
		return errnoExist
	case unix.EFAULT:
		return errnoFault
	case unix.EFBIG:
		return errnoFbig
	case unix.EHOSTUNREACH:
		return errnoHostunreach
	case unix.EIDRM:
		return errnoIdrm
	case unix.EILSEQ:
		return errnoIlseq
	case unix.EINPROGRESS:
		return errnoInprogress
	case unix.EINTR:
		return errnoIntr
	case unix.EINVAL:
		return errnoInval
	case unix.EIO:
		return errnoIo
	case unix.EISCONN:
		return errnoIsconn
	case unix.EISDIR:
		return errnoIsdir
	case unix.ELOOP:
		return errnoLoop
	case unix.EMFILE:
		return errnoMfile
	case unix.EMLINK:
		return errnoMlink
	case unix.EMSGSIZE:
		return errnoMsgsize
	case unix.EMULTIHOP:
		return errnoMultihop
	case unix.ENAMETOOLONG:
		return errnoNametoolong
	case unix.ENETDOWN:
		return errnoNetdown
	case unix.ENETRESET:
		return errnoNetreset
	case unix.ENETUNREACH:
		return errnoNetunreach
	case unix.ENFILE:
		return errnoNfile
	case unix.ENOBUFS:
		return errnoNobufs
	case unix.ENODEV:
		return errnoNodev
	case unix.ENOENT:
		return errnoNoent
	case unix.ENOEXEC:
		return errnoNoexec
	case unix.ENOLCK:
		return errnoNolck
	case unix.ENOLINK:
		return errnoNolink
	case unix.ENOMEM:
		return errnoNomem
	case unix.ENOMSG:
		return errnoNomsg
	case unix.ENOPROTOOPT:
		return errnoNoprotoopt
	case unix.ENOSPC:
		return errnoNospc
	case unix.ENOSYS:
		return errnoNosys
	case unix.ENOTCONN:
		return errnoNotconn
	case unix.ENOTDIR:
		return errnoNotdir
	case unix.ENOTEMPTY:
		return errnoNotempty
	case unix.ENOTRECOVERABLE:
		return errnoNotrecoverable
	case unix.ENOTSOCK:
		return errnoNotsock
	case unix.ENOTTY:
		return errnoNotty
	case unix.ENXIO:
		return errnoNxio
	case unix.EOVERFLOW:
		return errnoOverflow
	case unix.EOWNERDEAD:
		return errnoOwnerdead
	case unix.EPERM:
		return errnoPerm
	case unix.EPIPE:
		return errnoPipe
	case unix.EPROTO:
		return errnoProto
	case unix.EPROTONOSUPPORT:
		return errnoProtonosupport
	case unix.EPROTOTYPE:
		return errnoPrototype
	case unix.ERANGE:
		return errnoRange
	case unix.EROFS:
		return errnoRofs
	case unix.ESPIPE:
		return errnoSpipe
	case unix.ESRCH:
		return errnoSrch
	case unix.ESTALE:
		return errnoStale
	case unix.ETIMEDOUT:
		return errnoTimedout
	case unix.ETXTBSY:
		return errnoTxtbsy
	case unix.EXDEV:
		return errnoXdev
	}
	return errnoIo
}
