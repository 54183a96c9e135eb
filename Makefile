# anymx. `make help` lists what can be asked for.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build
.DELETE_ON_ERROR:

# Everything is compiled once: each Go command of this tree, also those that tests
# start, gets the same compiler flags by way of GOFLAGS. -trimpath keeps the paths of
# the building machine out of the programs, our own stamp replaces Go's, and only the
# race detector uses C.
export CGO_ENABLED := 0
export GOFLAGS     := $(GOFLAGS) -trimpath -buildvcs=false

# The linker's flags stamp the programs with the tag and commit that they were built
# from, and with its date: no clock of a machine that runs them can be right before it.
# Root may build another user's tree.
GIT     := git -c safe.directory='*'
VERSION := $(shell $(GIT) describe --tags --always --dirty 2>/dev/null || echo devel)
BUILT   := $(shell $(GIT) log -1 --format=%ct 2>/dev/null || echo 0)
BUILD   := go build -ldflags '-s -w -X anymx/edge/operate/api.release=$(VERSION) -X anymx/edge/operate/api.built=$(BUILT)'

# Tools are pinned here, not in go.mod: they are not part of what ships.
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
DEADCODE    := golang.org/x/tools/cmd/deadcode@v0.40.0
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.1.4

# Every file of the tree that git would take, NUL-separated. Works in a tree
# that is not committed yet, and does not look into bin/ or .run/.
FILES := $(GIT) ls-files -z --cached --others --exclude-standard

.PHONY: build
build: go ## the programs, into bin/
	$(BUILD) -o bin/ ./cmd/...

.PHONY: run
run: build ## a node and a core on loopback, real mail through them (Ctrl-C stops it)
	@.ci/setup run
	@$(BUILD) -o bin/.run ./tests/tool/run
	@exec bin/.run $(RUN_ARGS)

.PHONY: test
test: go ## all tests; skips are listed with their reason (FUZZTIME=5s also fuzzes)
	@.ci/setup test
	@$(BUILD) -o bin/.ladder ./tests/tool/ladder
	@exec bin/.ladder $(TEST_ARGS)

.PHONY: fuzz
fuzz: go ## each fuzz target for FUZZTIME (default 30s)
	@$(BUILD) -o bin/.ladder ./tests/tool/ladder
	@exec bin/.ladder -only-fuzz $(TEST_ARGS)

.PHONY: bench
bench: build ## anymx and Postfix side by side, into docs/benchmarks.md
	@.ci/setup bench
	@$(BUILD) -o bin/.bench ./tests/tool/bench
	bin/.bench $(BENCH_ARGS)

.PHONY: bench-old
bench-old: build ## CPU of a message beside an older anymx-edge: make bench-old OLD=../before/bin/anymx-edge
	@[ -n '$(OLD)' ] || { echo "bench-old: name the older program: make bench-old OLD=../before/bin/anymx-edge"; exit 1; }
	@$(BUILD) -o bin/.bench ./tests/tool/bench
	bin/.bench -old '$(OLD)' $(BENCH_ARGS)

.PHONY: lab
lab: build ## two PoPs, their routers, core and clients in network namespaces, to play with (root)
	@.ci/setup lab
	@$(BUILD) -o bin/.lab ./tests/lab/up
	@bin/.lab lab

.PHONY: lab-shell
lab-shell: ## a shell in the lab: make lab-shell POP=a (b, client-a, client-b, r1, r2, core)
	@[ -x bin/.lab ] || { echo "lab: there is none; make lab brings it up"; exit 1; }
	@exec bin/.lab shell '$(or $(POP),a)'

.PHONY: lab-down
lab-down: ## takes the lab away
	@[ -x bin/.lab ] || $(BUILD) -o bin/.lab ./tests/lab/up
	@exec bin/.lab down

.PHONY: image
image: build ## the appliance: a disk image, its update bundle and bill of materials, into bin/image/ (root)
	@.ci/setup image
	@image/build $(IMAGE_ARGS)

.PHONY: qemu
qemu: build ## boots the image beside a router and a core, sends mail through it, and leaves it to play with
	@.ci/setup qemu
	@[ -e bin/image/anymx.raw ] || { echo "qemu: there is no image yet"; $(MAKE) --no-print-directory image; }
	@$(BUILD) -o bin/.qemu ./tests/vm/up
	@exec bin/.qemu -image bin/image/anymx.raw $(QEMU_ARGS)

.PHONY: test-image
test-image: build ## builds the image, then boots, floods, updates, breaks and unplugs the image in QEMU (root, half an hour)
	@.ci/setup image qemu test
	@$(BUILD) -o bin/.ladder ./tests/tool/ladder
	@exec bin/.ladder -timeout 70m $(TEST_ARGS) ./tests/image

# What shows the image's main promises, and fits into what a change may wait for:
# the rest is in tests/tool/nightly.
IMAGE_CORE := ^(TestFromFlashToDrain|TestUpdates)$$/^(bad_signature|good|rollback_by_hand)$$

.PHONY: test-image-core
test-image-core: build ## the main part of test-image: boots, floods, drains, updates, rolls back (root)
	@.ci/setup image qemu test
	@$(BUILD) -o bin/.ladder ./tests/tool/ladder
	@exec bin/.ladder -timeout 70m -run '$(IMAGE_CORE)' $(TEST_ARGS) ./tests/image

.PHONY: nightly
nightly: build ## all that takes too long for every change: the rest of test-image, fuzzing, tests run again (root, over an hour)
	@.ci/setup image qemu test
	@$(BUILD) -o bin/.ladder ./tests/tool/ladder
	@$(BUILD) -o bin/.nightly ./tests/tool/nightly
	@images=$$(mktemp -d); trap 'rm -rf "$$images"' EXIT; \
	ANYMX_TEST_IMAGES=$${ANYMX_TEST_IMAGES:-$$images} bin/.nightly $(NIGHTLY_ARGS)

.PHONY: sample
sample: ## twelve minutes of make nightly, chosen by the commit
	@$(MAKE) --no-print-directory nightly NIGHTLY_ARGS="-sample $$($(GIT) rev-parse HEAD)"

.PHONY: check
check: format vet staticcheck deadcode rules generated shell vulnerabilities ## everything that reads the code without running it

.PHONY: format
format: # gofmt has nothing to change
	@bad=$$($(FILES) -- '*.go' | xargs -0r gofmt -l); \
	if [ -n "$$bad" ]; then echo "format: gofmt would change:"; echo "$$bad"; exit 1; fi; \
	echo "format: ok"

.PHONY: vet
vet: go
	@go vet ./...
	@echo "vet: ok"

.PHONY: staticcheck
staticcheck: go
	@go run $(STATICCHECK) ./...
	@echo "staticcheck: ok"

# staticcheck finds what a package does not use itself; this one finds exported
# functions and methods that no program and no test can reach, either.
.PHONY: deadcode
deadcode: go
	@found=$$(go run $(DEADCODE) -test ./...); \
	if [ -n "$$found" ]; then echo "deadcode: nothing calls these, remove them:"; echo "$$found"; exit 1; fi; \
	echo "deadcode: ok"

.PHONY: rules
rules: go # who imports whom, what is pure, documented and long, which words are used, what lies at the top
	@go test -count=1 ./tests/tool/rules

# Generated files are committed, so that a build needs no generator. Where a
# source asks for one, its output must be what is committed, byte for byte: text,
# and the BPF programs beside it. What needs a compiler that is not installed
# (xdp/bpf/generate) leaves its files as they are, and says so.
.PHONY: generated
generated: go
	@.ci/setup check
	@if ! $(FILES) -- '*.go' | xargs -0r grep -l '^//go:generate ' >/dev/null; then \
		echo "generated: nothing is generated"; exit 0; fi; \
	sums() { { $(FILES) | xargs -0r grep -lZI '^// Code generated .* DO NOT EDIT'; $(FILES) -- '*_bpfel.o'; } | xargs -0r sha256sum; }; \
	before=$$(sums); go generate ./...; \
	if ! diff <(echo "$$before") <(sums); then echo "generated: these files were not current"; exit 1; fi; \
	echo "generated: ok"

.PHONY: shell
shell: # shellcheck, where it is installed
	@.ci/setup check
	@if ! command -v shellcheck >/dev/null; then echo "shell: skipped, shellcheck is not installed"; exit 0; fi; \
	$(FILES) | xargs -0r grep -lZIm1 -E '^#!.*[/ ](ba)?sh( |$$)' | xargs -0r shellcheck; \
	echo "shell: ok"

# Known vulnerabilities in what we import. The database is asked for only
# where its address is given, so that nothing here ever reaches out unasked:
# GOVULNDB=https://vuln.go.dev make check
.PHONY: vulnerabilities
vulnerabilities: go
	@if [ -z "$${GOVULNDB:-}" ]; then \
		echo "vulnerabilities: skipped, no database (GOVULNDB names one: https://vuln.go.dev or file:///PATH)"; exit 0; fi; \
	go run $(GOVULNCHECK) -db "$$GOVULNDB" ./...

.PHONY: go
go: # is there a Go that can build this?
	@command -v go >/dev/null || { echo "anymx needs Go 1.26 or newer, and there is no go command here: https://go.dev/dl/"; exit 1; }
	@have=$$(GOTOOLCHAIN=local go env GOVERSION); mode=$$(go env GOTOOLCHAIN); \
	minor=$${have#go1.}; minor=$${minor%%[!0-9]*}; \
	if [ "$${minor:-0}" -ge 26 ]; then exit 0; fi; \
	if [ "$${minor:-0}" -ge 21 ] && [ "$$mode" != local ]; then \
		echo "the Go here is $$have; it fetches the newer one that go.mod names"; exit 0; fi; \
	echo "anymx needs Go 1.26 or newer; the one here is $$have: https://go.dev/dl/"; exit 1

.PHONY: clean
clean: ## removes bin/, the state of make run (.run/) and what images are made in (.image/, but for the keys)
	rm -rf bin .run
	@if [ -d .image ]; then find .image -mindepth 1 -maxdepth 1 ! -name keys -exec rm -rf {} +; fi

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
