# The front door: `make help` lists the targets, `make` builds bin/runw and bin/runw-accel.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := build

GO        ?= go
PREFIX    ?= /usr/local
DESTDIR   ?=
BUILD     := $(CURDIR)/build
BIN       := bin/runw
ACCEL     := bin/runw-accel

VERSION   ?= $(shell git describe --tags --match 'v*' --dirty 2>/dev/null || echo 0.1.0-dev)
GITCOMMIT ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)

# The engines to link, best first; without wasmtime nothing of the build is Rust.
ENGINES   ?= wasmtime wazero

# seccomp: link libseccomp; netgo, osusergo: a static glibc must not call NSS;
# urfave_cli_no_docs: a package init of 1 ms that only man-page generation needs.
TAGS       = seccomp netgo osusergo urfave_cli_no_docs $(filter wasmtime,$(ENGINES))
# --no-warnings: Rust's standard library holds two calls of NSS that nothing here reaches.
# -buildmode=exe: a PIE pays its relocations at each start, as private memory of each container.
GOBUILD    = $(GO) build -buildmode=exe -trimpath -tags "$(TAGS)" -ldflags '-s -w -linkmode external -extldflags "-static -Wl,--no-warnings" \
             -X main.version=$(VERSION) -X main.gitCommit=$(GITCOMMIT)'

# Without cgo: purego loads the libraries, which are none of the build's.
ACCELBUILD = CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w'

GOLANGCI_VERSION := v2.15.0
GOLANGCI  := $(BUILD)/tools/golangci-lint-$(GOLANGCI_VERSION)

CONTAINERD_VERSION := v2.4.2
CONTAINERD := $(BUILD)/tools/containerd-$(CONTAINERD_VERSION)

GOVULNCHECK_VERSION := v1.9.0
CARGO_AUDIT_VERSION := 0.22.2

FUZZTIME  ?= 10s
TESTFLAGS ?=
# The packages that are tested in-process; integration/ drives the built binary.
UNIT      := ./cmd/... ./pkg/...

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-18s %s\n", $$1, $$2}'

##@ build

.PHONY: build
build: ## build the static bin/runw, and bin/runw-accel (default)
	@.ci/deps build
	@$(MAKE) -s engines
	CGO_ENABLED=1 $(GOBUILD) -o $(BIN) ./cmd/runw
	@.ci/static $(BIN) 'Advanced Micro Devices X86-64|AArch64'
	$(ACCELBUILD) -o $(ACCEL) ./cmd/runw-accel

# What the linker needs of the engines that are not Go.
.PHONY: engines
engines:
	$(if $(filter wasmtime,$(ENGINES)),@.ci/wasmtime $(BUILD)/wasmtime,@:)

# The libraries of inference are the host's: these are for tests and measurements.
.PHONY: accel-libs
accel-libs: ## fetch llama.cpp, ONNX Runtime and a model from their npm packages into build/accel
	@.ci/accel-libs $(BUILD)/accel

# wazero only: there is no Rust standard library for another architecture in Debian.
.PHONY: build-arm64
build-arm64: ENGINES := wazero
build-arm64: ## cross-compile the static bin/runw-arm64 (engine wazero), and bin/runw-accel-arm64
	@.ci/deps arm64
	@.ci/sysroot-arm64 $(BUILD)/sysroot-arm64
	CGO_ENABLED=1 GOOS=linux GOARCH=arm64 CC=aarch64-linux-gnu-gcc \
	PKG_CONFIG_SYSROOT_DIR=$(BUILD)/sysroot-arm64 \
	PKG_CONFIG_LIBDIR=$(BUILD)/sysroot-arm64/usr/lib/aarch64-linux-gnu/pkgconfig \
	$(GOBUILD) -o $(BIN)-arm64 ./cmd/runw
	@.ci/static $(BIN)-arm64 AArch64
	GOOS=linux GOARCH=arm64 $(ACCELBUILD) -o $(ACCEL)-arm64 ./cmd/runw-accel

# Another program of the same commands, without the engines that need a library.
.PHONY: docs
docs: ## write man pages and shell completions below build/share
	@.ci/deps build
	@rm -rf --one-file-system $(BUILD)/share
	$(GO) run -tags "$(filter-out wasmtime,$(TAGS)) runw_docs" -ldflags '-X main.version=$(VERSION)' ./cmd/runw $(BUILD)/share

.PHONY: install
install: build docs ## install runw and runw-accel below $(DESTDIR)$(PREFIX)/sbin, man pages and shell completions below share
	install -D -m 0755 $(BIN) $(DESTDIR)$(PREFIX)/sbin/runw
	install -D -m 0755 $(ACCEL) $(DESTDIR)$(PREFIX)/sbin/runw-accel
	@cd $(BUILD)/share && find . -type f -printf '%P\0' | xargs -0 -I{} install -D -m 0644 {} $(DESTDIR)$(PREFIX)/share/{}

.PHONY: deps
deps: ## install every Debian package that building and testing needs
	@.ci/deps build arm64 test clients vm

.PHONY: clean
clean: ## remove what the build and the tests made
	rm -rf --one-file-system bin build

##@ test

.PHONY: test
test: unit integration clients integration-native vm ## run every test (installs what is missing)

.PHONY: unit
unit: ## run the packages' tests under the race detector
	@.ci/deps test vulkan
	@$(MAKE) -s engines accel-libs
	CGO_ENABLED=1 $(GO) test -race -tags "$(TAGS)" $(TESTFLAGS) $(UNIT)

.PHONY: integration
integration: build accel-libs ## drive bin/runw with real bundles, on each engine
	@.ci/deps test vulkan
	$(GO) test -count=1 -timeout 20m $(TESTFLAGS) ./integration/...
	$(if $(filter wasmtime,$(ENGINES)),RUNW_ENGINE=wazero $(GO) test -count=1 -timeout 20m $(TESTFLAGS) ./integration,@:)

.PHONY: integration-native
integration-native: ## run the native rows on Debian's runc and crun: they test the tests
	@.ci/deps test
	RUNTIME=runc $(GO) test -count=1 -timeout 10m $(TESTFLAGS) ./integration
	RUNTIME=crun $(GO) test -count=1 -timeout 10m $(TESTFLAGS) ./integration

# A module of its own: the Kubernetes API's Go modules are none of runw's.
.PHONY: clients
clients: build accel-libs $(CONTAINERD) ## run podman, containerd's CRI, dockerd and buildah with bin/runw
	@.ci/deps test clients
	$(GO) -C integration/clients test -count=1 -timeout 20m $(TESTFLAGS)
	CONTAINERD=$(CONTAINERD) $(GO) -C integration/clients test -count=1 -timeout 10m -run '^TestC(tr|RI)' $(TESTFLAGS)

# Debian's containerd is of the first generation; its own build adds file systems that no test needs.
$(CONTAINERD):
	GOFLAGS= GOBIN=$@.new $(GO) install -tags no_btrfs,no_devmapper,no_zfs \
	  $(addprefix github.com/containerd/containerd/v2/cmd/,$(addsuffix @$(CONTAINERD_VERSION),containerd containerd-shim-runc-v2 ctr))
	@mv $@.new $@

# cgroup v2, systemd and every capability, whatever this machine has.
.PHONY: vm
vm: build ## drive bin/runw on cgroup v2 and systemd, in a small QEMU machine (built once, 3 to 5 minutes)
	@.ci/deps test vm
	@.ci/vm build
	$(GO) run ./integration/vm

CYCLES    ?= 2000
.PHONY: cycles
cycles: build ## create, start, kill and delete CYCLES (2000) containers, 20 at a time, and kill runw itself at 30 moments
	@.ci/deps test
	$(GO) test -count=1 -timeout 60m -v -run '^(TestCycles|TestKilledRuntime)$$' $(TESTFLAGS) ./integration -cycles $(CYCLES) -kills 30

.PHONY: fuzz
fuzz: ## run each fuzz target for FUZZTIME (10s)
	@.ci/deps build
	@$(MAKE) -s engines
	@$(MAKE) -s fuzz-list | while read -r package target; do \
	  GO="$(GO)" .ci/fuzz "$$package" "$$target" "$(FUZZTIME)" "$(TAGS)"; \
	done

# One "PACKAGE TARGET" a line, from the sources, so that none is forgotten.
.PHONY: fuzz-list
fuzz-list:
	@grep -rE '^func Fuzz[A-Z]' --include='*_test.go' cmd pkg integration | \
	  sed -nE 's,^(.*)/[^/]*:func (Fuzz[A-Za-z0-9_]+)\(.*,./\1 \2,p' | sort

.PHONY: bench bench-density bench-kernels bench-net bench-nn
bench: build ## measure start-up, memory and host calls beside runc and crun
	@.ci/deps test
	$(GO) run ./integration/bench $(BENCHFLAGS)

bench-density: build ## run 1000 idle Wasm containers at once (BENCHFLAGS=-count=N)
	@.ci/deps test
	$(GO) run ./integration/bench $(BENCHFLAGS) density

bench-net: build ## measure a C server as a module against itself as a native program
	@.ci/deps test
	$(GO) run ./integration/benchnet $(BENCHFLAGS)

bench-nn: build accel-libs ## measure inference through the sandbox against the same libraries called directly
	@.ci/deps test
	$(GO) run ./integration/benchnn $(BENCHFLAGS)

bench-kernels: build ## measure compute speed of the engines against gcc -O2
	@.ci/deps test
	$(GO) run ./integration/bench $(BENCHFLAGS) kernels

# The demo does not wait for the Rust build of wasmtime: it takes the engine if it is there.
.PHONY: demo
demo: ENGINES := $(if $(shell .ci/wasmtime --cached && echo yes),wasmtime) wazero
demo: ## run a Wasm module and a busybox shell from OCI bundles
	@.ci/deps build demo
	@$(MAKE) --no-print-directory build ENGINES="$(ENGINES)"
	@$(GO) run ./integration/demo

##@ care

.PHONY: fmt
fmt: ## format the Go files
	gofmt -s -w cmd pkg integration

.PHONY: lint
lint: $(GOLANGCI) ## gofmt, go vet, golangci-lint and go.mod
	@.ci/deps build
	@$(MAKE) -s engines
	@out="$$(gofmt -s -l cmd pkg integration)"; test -z "$$out" || { echo "gofmt -s: $$out"; exit 1; }
	$(GO) vet -tags "$(TAGS)" ./...
	$(GO) mod tidy -diff
	cd integration/clients && $(GO) vet ./... && $(GO) mod tidy -diff
	$(GOLANGCI) run --allow-parallel-runners --build-tags "$(TAGS)" ./...
	cd integration/clients && $(GOLANGCI) run --allow-parallel-runners ./...

# Built from the module proxy's source, so that the version is this one on every machine.
$(GOLANGCI):
	@mkdir -p $(@D)
	GOFLAGS= GOBIN=$(@D)/new $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	@mv $(@D)/new/golangci-lint $@

# Each needs its database: a Git repository of advisories, and Go's vulnerability service.
.PHONY: audit
audit: ## look for known vulnerabilities in the Go modules and the crates (needs their databases)
	@.ci/deps build
	@$(MAKE) -s engines
	GO="$(GO)" .ci/audit $(GOVULNCHECK_VERSION) $(CARGO_AUDIT_VERSION) $(BUILD)/tools "$(TAGS)"

.PHONY: tidy
tidy: ## bring go.mod and go.sum up to date
	$(GO) mod tidy
	$(GO) -C integration/clients mod tidy
