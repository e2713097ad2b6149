package hostfuncs

var pathFunctions = []function{}
