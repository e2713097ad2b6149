package hostfuncs

// preview1 is the module name of all functions of WASI snapshot 1.
const preview1 = "wasi_snapshot_preview1"

// snapshot0 is the module name that snapshot 1 replaced in 2020.
const snapshot0 = "wasi_unstable"

// families is everything a guest can import. It stays an array of the families'
// own slices: the linker lays it out as static data, whereas joining them into
// one slice or indexing them in a map would be work at every start.
var families = [...][]function{
	fsFunctions,
	pathFunctions,
	procFunctions,
	clockFunctions,
	pollFunctions,
	sockFunctions,
	wasmedgeFunctions,
	nnFunctions,
}
