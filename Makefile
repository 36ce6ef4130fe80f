# `make help` lists the targets: a target is documented by the comment behind ##.
.PHONY: help demo demo-cluster unit test acceptance check lint audit fuzz servers static bench bench-stages bench-contenders bench-page bench-fleet bench-hostile \
	bench-cluster screenshots \
	screenshots-dashboards screenshots-pages release-crowd

# Servers: real ones of six generations, Prometheus, Alertmanager and systemd-analyze. Kits, each with its own
# installer: libraries of the subscribers in other languages, checkers for the files in deploy/, the schema of
# dashboards, a browser driver (as root also the browser), and a tester for the API. Only the acceptance tests need
# the frameworks whose client names are tested (450 MB).
SERVERS = redis-6.2 redis-7.0 redis-8.0 redis-8.2 valkey-8.1 valkey-9.1 redict prometheus alertmanager systemd-analyze faketime
# Scripts whose syntax is checked, since tests do not run all of them.
SCRIPTS = deploy/demo/run deploy/subscribers/subscriber.sh deploy/static tests/*/install tests/lint/check tests/dashboards/pictures/run .ci/run
MODULES = $(wildcard bench/*.mjs tests/*/*.mjs tests/*/*/*.mjs deploy/subscribers/*.mjs src/web/assets/*.js)
KITS = subscribers deploy dashboards browser api

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-22s %s\n", $$1, $$2 }' Makefile

demo: ## demonstrate the exporter on a temporary Redis; Ctrl-C stops everything
	@deploy/demo/run

demo-cluster: ## demonstrate the exporter on a temporary cluster of six nodes whose primaries fail over; Ctrl-C stops it
	deploy/demo/run-cluster

unit: ## run the tests of pure code, which need no server; under a minute once built
	cargo test --locked --lib --test unit

# Most tests wait for a server, so more of them than cores run at once; tests/support/share.rs bounds their processes.
test: servers ## install what the tests need, and run all tests but the heavy ones; 8 minutes once built
	RUST_TEST_THREADS="$${RUST_TEST_THREADS:-$$(( $$(getconf _NPROCESSORS_ONLN) * 4 ))}" cargo test --locked

acceptance: servers ## run the heavy tests, and write docs/acceptance.md; 35 minutes
	tests/frameworks/install .cache/frameworks
	cargo test --locked --test acceptance

# On a developer's machine, tests of a missing server are skipped with a message. In CI a missing server is a failure.
servers: ## install the servers and tools of the tests into .cache
	@tests/servers/install .cache/servers $(SERVERS) || test -z "$$CI"
	@for kit in $(KITS); do "tests/$$kit/install" ".cache/$$kit" || test -z "$$CI" || exit 1; done

static: ## build the program as one file that needs no C library; print its path
	@deploy/static

check: lint test ## run the lints and all tests

lint: ## check formatting, lints, wording and docs
	@tests/lint/check
	@for script in $(SCRIPTS); do bash -n "$$script" || exit 1; done
	@! command -v node > /dev/null || for script in $(MODULES); do node --input-type=module --check < "$$script" || exit 1; done
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items

# Both tools are installed into .cache if they are missing. Building them takes minutes, so they are not part of check.
TOOLS = $(CURDIR)/.cache/cargo
FUZZ_SECONDS ?= 60
FUZZ_TARGETS = $(basename $(notdir $(wildcard tests/fuzz/targets/*.rs)))
$(TOOLS)/bin/cargo-deny:
	command -v cargo-deny > /dev/null || cargo install --locked --root $(TOOLS) cargo-deny@0.20.2
$(TOOLS)/bin/cargo-fuzz:
	command -v cargo-fuzz > /dev/null || cargo install --locked --root $(TOOLS) cargo-fuzz@0.13.2

audit: $(TOOLS)/bin/cargo-deny ## check the dependencies: vulnerabilities, licenses, sources (deny.toml)
	PATH="$(TOOLS)/bin:$$PATH" cargo deny --locked check

fuzz: $(TOOLS)/bin/cargo-fuzz ## run each fuzz target for FUZZ_SECONDS (default: 60); needs a nightly toolchain
	@for target in $(FUZZ_TARGETS); do \
	  mkdir -p "tests/fuzz/found/$$target" && \
	  PATH="$(TOOLS)/bin:$$PATH" cargo +nightly fuzz run --fuzz-dir tests/fuzz "$$target" \
	    "$(CURDIR)/tests/fuzz/found/$$target" "$(CURDIR)/tests/fuzz/corpus/$$target" -- \
	    -max_total_time=$(FUZZ_SECONDS) -timeout=10 || exit 1; \
	done

# Screenshots for docs/screenshots. A person has to review them, so they are not part of CI.
screenshots: screenshots-dashboards screenshots-pages ## take all screenshots in docs/screenshots; 20 minutes

screenshots-dashboards: ## take the screenshots of the boards
	tests/dashboards/pictures/run docs/screenshots

screenshots-pages: release-crowd ## take the screenshots of the pages
	tests/browser/install .cache/browser
	BENCH_SERVER="$(BENCH_SERVER)" node tests/browser/screenshots.mjs docs/screenshots

bench: bench-stages bench-contenders ## run bench-stages and bench-contenders

bench-stages: ## measure parse, derive and encode at 1k, 10k and 100k clients
	cargo bench --locked --bench stages

# Another server: make bench BENCH_SERVER=/path/to/redis-server (see bench/contenders.rs).
BENCH_SERVER ?= $(shell command -v redis-server || echo $(CURDIR)/.cache/servers/redis-7.0/redis-server)

bench-contenders: ## measure the cost for a server with 19,000 clients, and that of redis_exporter
	BENCH_CONTENDERS=1 BENCH_SERVER="$(BENCH_SERVER)" cargo bench --locked --bench contenders

bench-page: release-crowd ## measure the pages with 19,000 clients in a browser; 15 minutes
	tests/browser/install .cache/browser
	BENCH_SERVER="$(BENCH_SERVER)" node bench/page.mjs

bench-fleet: ## measure an exporter of 100 servers with 100 clients each; 3 minutes
	cargo build --locked --release
	BENCH_SERVER="$(BENCH_SERVER)" node bench/fleet.mjs

bench-hostile: ## measure scrapes and memory while peers, servers and publishers are hostile; 15 minutes
	cargo build --locked --release
	BENCH_SERVER="$(BENCH_SERVER)" node bench/hostile.mjs

bench-cluster: ## measure what announcing costs the nodes of a cluster; a minute once built
	cargo build --locked --release
	BENCH_SERVER="$(BENCH_SERVER)" node bench/cluster.mjs

release-crowd: ## build the program and the test clients for measurements
	cargo build --locked --release --features crowd
