package hostfuncs

// The witx rights. They are capabilities of a descriptor that the guest may
// give up but never gain.
const (
	rightFdDatasync uint64 = 1 << iota
	rightFdRead
	rightFdSeek
	rightFdFdstatSetFlags
	rightFdSync
	rightFdTell
	rightFdWrite
	rightFdAdvise
	rightFdAllocate
	rightPathCreateDirectory
	rightPathCreateFile
	rightPathLinkSource
	rightPathLinkTarget
	rightPathOpen
	rightFdReaddir
	rightPathReadlink
	rightPathRenameSource
	rightPathRenameTarget
	rightPathFilestatGet
	rightPathFilestatSetSize
	rightPathFilestatSetTimes
	rightFdFilestatGet
	rightFdFilestatSetSize
	rightFdFilestatSetTimes
	rightPathSymlink
	rightPathRemoveDirectory
	rightPathUnlinkFile
	rightPollFdReadwrite
	rightSockShutdown
	rightSockAccept
)

const (
	// rightsKnown are the bits with a meaning here. WasmEdge's socket
	// extension gives the ones from 28 on another; guests of both kinds exist,
	// so bits outside are ignored rather than refused.
	rightsKnown = rightSockAccept<<1 - 1

	rightsSocket = rightFdRead | rightFdWrite | rightFdFdstatSetFlags | rightFdFilestatGet |
		rightPollFdReadwrite | rightSockShutdown | rightSockAccept

	rightsFile = rightFdDatasync | rightFdRead | rightFdSeek | rightFdFdstatSetFlags |
		rightFdSync | rightFdTell | rightFdWrite | rightFdAdvise | rightFdAllocate |
		rightFdFilestatGet | rightFdFilestatSetSize | rightFdFilestatSetTimes |
		rightPollFdReadwrite

	// rightsTerminal lacks SEEK and TELL: wasi-libc's isatty takes a character
	// device without them for a terminal.
	rightsTerminal = rightsFile &^ (rightFdSeek | rightFdTell)

	rightsDir = rightFdDatasync | rightFdFdstatSetFlags | rightFdSync | rightFdReaddir |
		rightFdFilestatGet | rightFdFilestatSetTimes | rightPathCreateDirectory |
		rightPathCreateFile | rightPathLinkSource | rightPathLinkTarget | rightPathOpen |
		rightPathReadlink | rightPathRenameSource | rightPathRenameTarget |
		rightPathFilestatGet | rightPathFilestatSetSize | rightPathFilestatSetTimes |
		rightPathSymlink | rightPathRemoveDirectory | rightPathUnlinkFile

	// rightsInheriting is what a directory that the guest is started with
	// allows below it.
	rightsInheriting = rightsDir | rightsFile
)

// rightsOf are the rights that make sense for a kind of file.
func rightsOf(kind filetype, terminal bool) uint64 {
	switch {
	case kind == filetypeDir:
		return rightsDir
	case kind == filetypeSocket || kind == filetypeSocketDgram:
		return rightsSocket
	case terminal:
		return rightsTerminal
	}
	return rightsFile
}

// can says whether e has all of rights. Sockets always have: the bits from 28
// on mean different things to different guests.
func (e *entry) can(rights uint64) bool {
	return e.base&rights == rights || e.kind == filetypeSocket || e.kind == filetypeSocketDgram
}
