package hostfuncs

var fsFunctions = []function{}
