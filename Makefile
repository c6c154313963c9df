# vnetd: `make help` lists what there is.

# sudo often has a PATH without Go's usual home.
GO      ?= $(or $(shell command -v go 2>/dev/null),/usr/local/go/bin/go)
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
PREFIX  ?= /usr
DESTDIR ?=

export CGO_ENABLED = 0

LDFLAGS   = -s -w -X main.version=$(VERSION)
TOOL      = $(GO) tool -modfile=$(CURDIR)/tools/go.mod
BUF       = $(GO) tool -modfile=$(CURDIR)/tools/buf/go.mod buf
COMMANDS  = vnetd vnetctl vnet-bridge-helper
TESTFLAGS ?=

.DEFAULT_GOAL := help
.PHONY: help build run demo test unit race bench lint generate install uninstall deps bench-deps boot-test fuzz packet-fuzz update floods clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## the binaries, in bin/
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ $(addprefix ./cmd/,$(COMMANDS))

run: build ## the daemon on this host, in the foreground, with the default network (root)
	@test "$$(id -u)" = 0 || { echo "make run: needs root: sudo make run" >&2; exit 1; }
	@echo "vnetd runs in the foreground; Ctrl-C ends it and leaves the networks standing."
	@echo "In another terminal:  sudo bin/vnetctl status"
	bin/vnetd

demo: build ## a tour in network namespaces of its own; touches nothing of this host (root)
	@test "$$(id -u)" = 0 || { echo "make demo: needs root: sudo make demo" >&2; exit 1; }
	docs/demo.sh

test: deps ## everything: unit, kernel, real clients, a QEMU guest (root)
	VNETD_TEST_REQUIRE=1 $(GO) test -count=1 -timeout 20m -parallel 8 $(TESTFLAGS) ./...

unit: ## what needs neither root nor clients
	$(GO) test -short $(TESTFLAGS) ./...

race: ## the tests with the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race -count=1 -timeout 30m $(TESTFLAGS) ./...

BENCH ?= .
bench: bench-deps ## speed beside the peers, in one run; BENCH=dhcp, dns, network, scale or forwarding for one (root)
	VNETD_TEST_REQUIRE=1 $(GO) test -tags bench -count=1 -timeout 60m -run '(?i)^Test$(BENCH)' ./daemon/bench -v | grep -v '^=== \|^ *--- \|^PASS'

floods: deps ## how long others wait while one guest floods, as a table (root)
	VNETD_TEST_REQUIRE=1 VNETD_TEST_ROUNDS=10 $(GO) test -count=1 -run '^TestFloods$$' ./daemon -v | sed -n 's/^ *floods_test.go:[0-9]*: //p'

boot-test: build ## the units in real machines: systemd of Debian 12 and 13, in nspawn (root)
	dist/boot-test.sh

FUZZTIME ?= 30s
fuzz: ## every fuzz target for FUZZTIME (30s)
	@grep -rln --include='*_test.go' '^func Fuzz' . | while read -r f; do \
	  sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' "$$f" | while read -r name; do \
	    echo "== $$(dirname "$$f") $$name"; \
	    $(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x "$$(dirname "$$f")" || exit 1; done || exit 1; done

FRAMES ?= 1000000
packet-fuzz: deps ## FRAMES (a million) mutated frames of all protocols against a running daemon (root)
	VNETD_TEST_REQUIRE=1 VNETD_TEST_FRAMES=$(FRAMES) $(GO) test -count=1 -timeout 60m -run '^TestPacketFuzz$$' ./daemon -v

lint: ## gofumpt, go vet, staticcheck, buf; pinned in tools/
	@out=$$($(TOOL) gofumpt -l $$(git ls-files '*.go' | grep -v '\.pb\.go$$')); test -z "$$out" || { echo "gofumpt would change:" >&2; echo "$$out" >&2; exit 1; }
	$(GO) vet ./...
	$(TOOL) staticcheck ./...
	cd api && $(BUF) lint

generate: ## the Go of the proto contract, from pinned tools
	cd api && $(BUF) generate

update: ## rewrite the golden files; then look at the diff
	$(GO) test ./netdrv ./firewall -update
	$(GO) test ./daemon -run TestReachability -update

install: build ## binaries, units, completions; the daemon declares the default network when it first starts (root)
	dist/install.sh "$(DESTDIR)" "$(PREFIX)"

uninstall: ## what install put there; networks, leases and definitions stay (root)
	dist/uninstall.sh "$(DESTDIR)" "$(PREFIX)"

deps: ## Debian packages that the tests need (root)
	@dist/deps.sh test

bench-deps:
	@dist/deps.sh bench

clean: ## the binaries
	rm -rf bin
