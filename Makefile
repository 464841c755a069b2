# Quorate. `make demo` and `make test` need Go, make and git, and nothing else.

GO ?= go
FUZZTIME ?= 10s
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -X main.version=$(VERSION)

.PHONY: help build demo up test race proofs lint fuzz bench benchmarks benchstat compliance differential speed badnetwork crash population scale clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## bin/quorate, bin/quorate-perspective and bin/quorate-sandbox
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/quorate ./cmd/quorate-perspective ./cmd/quorate-sandbox

demo: build ## the main job from nothing: certificates issued, attacks refused
	./bin/quorate-sandbox demo

up: build ## the demo's world, kept running for certbot, lego and curl
	./bin/quorate-sandbox up

# The packages whose tests take longest begin first, so that none of them is still running when all others have ended.
LONGEST := ./va/resolver ./db ./test/crash ./test/reviewer ./cmd/quorate ./db/bundle
test: ## all tests; those that need an absent program say so and skip
	$(GO) test $(TESTFLAGS) $(LONGEST) ./...

# SQLite in Go is C, translated, and synchronises as C does: looking at each of its memory accesses takes most of the time and can find nothing of ours.
UNWATCHED := -gcflags=modernc.org/sqlite/lib=-race=false -gcflags=modernc.org/libc=-race=false
# What these test are programs that are started, most of them built without the detector, or killed at any moment.
UNRACED := cmd/quorate test test/boulder test/compose test/crash test/postgres test/second
race: ## the tests under the race detector, but those of whole programs; vet is lint's
	@$(GO) list ./... | grep -vE '/quorate/($(subst $() ,|,$(UNRACED)))$$' | xargs $(GO) test -race $(UNWATCHED) -short -vet=off -ldflags=-w $(filter-out $(addprefix ./,$(UNRACED)),$(LONGEST))

lint: ## gofmt, vet, staticcheck, go.mod tidy
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo 'run gofmt -w'; exit 1; }
	$(GO) vet ./...
	$(GO) tool -modfile=.ci/tools.mod staticcheck ./...
	$(GO) mod tidy -diff

# With -fuzz Go builds a package and all below it anew, to watch which code an input reaches; with none, inputs are changed blindly.
GUIDED ?= -fuzz=.
fuzz: ## each fuzz target for FUZZTIME (10s), two packages at a time
	@git grep -l '^func Fuzz' -- '*_test.go' | xargs -n1 dirname | sort -u | GO='$(GO)' xargs -P 2 -I{} .ci/fuzz {} $(FUZZTIME) $(GUIDED)

PARTS ?= near,upstream,failing,above,soak,growth,lookups,far
SOAK ?= 2m
SOAKRATE ?= 0
RECORDS ?= 1000,10000,100000
bench: ## whole validations beside Boulder's, in one world and one run, PARTS of it: docs/performance.md (root)
	$(GO) run ./test/bench -write docs/performance.md -parts $(PARTS) -soak $(SOAK) -soakrate $(SOAKRATE) -records $(RECORDS)

BENCH ?= .
COUNT ?= 6
PKGS ?= $$(git grep -l '^func Benchmark' -- '*_test.go' | xargs -n1 dirname | sort -u | sed 's|^|./|')
benchmarks: ## Go benchmarks of the hot paths, in benchstat's form: those of BENCH, in PKGS
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem $(PKGS)

benchstat: ## the same, COUNT times in turns, at the revision OLD and here, compared
	@test -n '$(OLD)' || { echo 'make benchstat OLD=revision [BENCH=regexp] [PKGS=./mpic] [COUNT=6]'; exit 2; }
	@mkdir -p .cache; rm -f .cache/bench.*.txt; d=$$(mktemp -d); trap "git worktree remove --force $$d/old; rm -rf $$d" EXIT; \
	  git worktree add -q --detach "$$d/old" '$(OLD)'; for i in $$(seq $(COUNT)); do for at in "$$d/old" .; do for p in $(PKGS); do \
	  ! test -d "$$at/$$p" || (cd "$$at" && $(GO) test -run '^$$' -bench '$(BENCH)' -benchmem "$$p") >> .cache/bench.$$(basename "$$at" | tr . n).txt || exit 1; \
	  done; done; done; \
	  $(GO) tool -modfile=.ci/tools.mod benchstat old=.cache/bench.old.txt new=.cache/bench.n.txt

compliance: ## write docs/compliance.md from the tests that ran
	@mkdir -p .cache
	CI=true $(GO) test -json ./... > .cache/results.json
	$(GO) run ./test/compliance -results .cache/results.json

differential: ## five thousand verdicts beside those of Debian's Unbound, in each of four worlds
	@set -e; for seed in 1 2 3 4; do $(GO) test ./test/differential -count=1 -v -names 5000 -seed $$seed; done

speed: ## lookups beside Unbound's, and what attacks cost: its part of docs/performance.md (root or port 53)
	$(GO) run ./test/speed -write docs/performance.md

badnetwork: ## lookups beside Debian's Unbound in bad networks, in six minutes: test/badnetwork/results.md
	$(GO) test ./test/badnetwork -count=1 -run Table -table -v -timeout 20m

POPULATION ?= 100000
population: ## how long the auditor's questions take over POPULATION records, on both engines
	$(GO) test ./db -run PopulationsOfSize -population $(POPULATION) -v -count=1 -timeout 2h

SCALE ?= 10000
scale: ## SCALE records with real evidence, made, recorded and verified at each depth
	$(GO) run ./test/scale -n $(SCALE)

proofs: ## each stored proof of the resolver's tests, worked out by a second implementation; needs Debian's dnspython
	@mkdir -p .cache && rm -f .cache/proofs.jsonl
	$(GO) test -count=1 ./va/resolver -proofs $(CURDIR)/.cache/proofs.jsonl
	/usr/bin/python3 test/second/verify.py .cache/proofs.jsonl

# A test that runs with -write leaves its part of the results there.
crash: ## a thousand gates killed on each engine, servers killed under load, faults: test/crash/results.md, in half an hour
	rm -rf .cache/crash && mkdir -p .cache/crash
	$(GO) test ./test/crash -count=1 -v -timeout 90m -kills 1000 -pairs 40 -failovers 10 -write $(CURDIR)/.cache/crash
	cat test/crash/results.head.md .cache/crash/*.md > test/crash/results.md

clean:
	rm -rf bin .cache
