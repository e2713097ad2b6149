package hostfuncs

import "slices"

// preview1 is the module name of all functions of WASI snapshot 1.
const preview1 = "wasi_snapshot_preview1"

// functions is everything a guest can import, one slice a family.
var functions = slices.Concat(
	fsFunctions,
	pathFunctions,
	procFunctions,
	clockFunctions,
	pollFunctions,
	sockFunctions,
)
