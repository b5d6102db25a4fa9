# Each target is one or two plain commands. `make help` lists them.

SHELL := bash
STATE ?= state
OUT   ?= build
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
export CGO_ENABLED ?= 0
GOBUILD := go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)'
FUZZTIME ?= 60s

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | column -t -s "$$(printf '\t')"

.PHONY: build
build: ## the binaries, into build/
	$(GOBUILD) -o $(OUT)/metalward ./cmd/metalward
	$(GOBUILD) -o $(OUT)/metalward-agent ./cmd/metalward-agent

.PHONY: run
run: deps-run build ephemeral ## build, and start a region and a rack on this host
	exec $(OUT)/metalward up --state-dir $(STATE) --boot-files $(OUT)/ephemeral

.PHONY: deps-run
deps-run: ## install or name what building and running needs
	deploy/deps.sh run

.PHONY: ephemeral
ephemeral: ## kernel and initramfs with the agent, and iPXE, from Debian packages
	deploy/ephemeral/build.sh $(OUT)/ephemeral

.PHONY: test
test: ## everything that needs no root (as root on Debian it installs PostgreSQL for the store's suite)
	deploy/deps.sh test
	CGO_ENABLED=1 go test -race -short -shuffle=on -timeout 20m ./...
	go test -shuffle=on -timeout 20m ./internal/region ./internal/region/alerts ./internal/region/secrets ./internal/detect  # what is slow with the race detector
	go test -count=1 ./test/testssl
	go test -count=1 ./internal/firewall ./internal/host ./test/firewall  # in network namespaces, as root
	cd test/compat && go test -count=1 -timeout 10m ./...
	cd test/candid && go test -count=1 -timeout 10m ./...
	cd test/oidc && go test -count=1 -timeout 10m ./...
	cd test/acme && go test -count=1 -timeout 10m ./...
	cd test/sarif && go test -count=1 -timeout 10m ./...

.PHONY: test-vault
test-vault: ## the Vault client and its fake against a real Vault; its first build takes 5 to 10 minutes on two cores
	cd test/vault && go test -count=1 -timeout 10m ./...
	cd test/transit && go test -count=1 -timeout 10m ./...

.PHONY: e2e
e2e: ## whole stories with emulated machines; needs root
	deploy/deps.sh e2e
	go test -tags e2e -count=1 -timeout 60m -v ./test/e2e/

.PHONY: e2e-lab
e2e-lab: ## the laboratory's own tests: hand-made boots beside which ours are measured; needs root
	deploy/deps.sh e2e
	go test -tags e2e -count=1 -timeout 30m -v ./test/e2e/lab/

.PHONY: e2e-smoke
e2e-smoke: ## one BIOS machine from power-on to deployed and back; needs root
	deploy/deps.sh e2e
	METALWARD_E2E_SMOKE=1 go test -tags e2e -count=1 -timeout 20m -v -run 'TestStoryBIOS' ./test/e2e/

.PHONY: bench
bench: ## benchmarks; see docs/benchmarks.md
	go test -run '^$$' -bench . -benchtime 5x -timeout 30m ./test/bench/...

.PHONY: bench-detect
bench-detect: ## how well and how fast attacks are found in the labelled logs, where they lie beside the project (or in METALWARD_LOGS)
	set -o pipefail; go test -count=1 -v -run 'TestSSHLines|TestPayloads|TestLabelledFiles|TestOrdinary|TestLabelledPayloads' ./internal/logs ./internal/inspect ./internal/watch ./internal/waf | grep -vE '^=== |missed|wrong'
	go test -run '^$$' -cpu 1 -bench . -benchtime 2s ./internal/watch

.PHONY: fuzz
fuzz: ## each fuzz target for a while (FUZZTIME)
	deploy/fuzz.sh $(FUZZTIME)

.PHONY: cover
cover: ## coverage page, into build/
	mkdir -p $(OUT)
	go test -coverprofile $(OUT)/cover.out ./... && go tool cover -html $(OUT)/cover.out -o $(OUT)/cover.html

.PHONY: fmt
fmt: ## format
	gofmt -w cmd internal test

.PHONY: lint
lint: ## formatting and vet; golangci-lint too, if it is installed
	@bad="$$(gofmt -l cmd internal test)"; if [ -n "$$bad" ]; then echo "gofmt would change: $$bad"; exit 1; fi
	go vet ./... && go vet -tags e2e ./test/e2e/...
	if command -v golangci-lint >/dev/null; then golangci-lint run; fi

.PHONY: map
map: ## the dependency levels, and any import that breaks them
	go test -count=1 -run TestLayers -v ./internal

.PHONY: gen
gen: ## regenerate docs/reference
	go run ./cmd/gen-reference

.PHONY: gen-check
gen-check: gen ## fail if docs/reference is not up to date
	git diff --exit-code -- docs/reference

.PHONY: check
check: lint gen-check test ## what CI runs, but the stories with machines
