module github.com/runw/runw/integration/clients

go 1.26.0

require (
	github.com/runw/runw v0.0.0
	golang.org/x/sys v0.49.0
)

require github.com/opencontainers/runtime-spec v1.3.0 // indirect

replace github.com/runw/runw => ../..
