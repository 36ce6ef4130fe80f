# make demo    shows it at work on a throw-away Redis; Ctrl-C ends all of it
# make test    installs what the tests need, and runs every test
# make check   what CI runs: formatting, lints, docs, tests
# make static  builds the program as one file that needs no C library; prints its path
# make bench   parse, derive and encode at 1k, 10k and 100k clients; then what watching 19,000 clients costs a server, side
#              by side with a full listing and redis_exporter (BENCH_SERVER: another server; see bench/contenders.rs)
# make bench-page   what the pages cost with 19,000 clients, in a browser (see bench/page.mjs); some 15 minutes
# make screenshots  draws the pictures of docs/screenshots from real runs; some 20 minutes
.PHONY: demo test check lint servers static bench bench-stages bench-contenders bench-page screenshots screenshots-dashboards \
	screenshots-pages release-crowd

# Real servers of six generations, a Prometheus, an Alertmanager and a systemd-analyze; then kits, each with an installer of its own:
# what subscribers in other languages stand on, what checks the files in deploy/, the schema of dashboards, what drives a browser (as root
# also the browser), what tries the API, and the frameworks whose client names are tested (450 MB).
SERVERS = redis-6.2 redis-7.0 redis-8.0 redis-8.2 valkey-8.1 valkey-9.1 prometheus alertmanager systemd-analyze
# What is read for errors by itself: what tests do not run would else be found broken by who needs it.
SCRIPTS = deploy/demo/run deploy/subscribers/subscriber.sh deploy/static tests/*/install tests/dashboards/pictures/run .ci/run
MODULES = $(wildcard bench/*.mjs tests/*/*.mjs tests/*/*/*.mjs deploy/subscribers/*.mjs src/web/assets/*.js)
KITS = subscribers deploy dashboards browser api frameworks

demo:
	@deploy/demo/run

test: servers
	cargo test --locked

# At home a server that cannot be had makes its tests skip, loudly; in CI it is a failure.
servers:
	@tests/servers/install .cache/servers $(SERVERS) || test -z "$$CI"
	@for kit in $(KITS); do "tests/$$kit/install" ".cache/$$kit" || test -z "$$CI" || exit 1; done

static:
	@deploy/static

check: lint test

lint:
	@for script in $(SCRIPTS); do bash -n "$$script" || exit 1; done
	@! command -v node > /dev/null || for script in $(MODULES); do node --input-type=module --check < "$$script" || exit 1; done
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items

# Pictures for docs/screenshots: to be looked at, so not a part of CI.
screenshots: screenshots-dashboards screenshots-pages

screenshots-dashboards:
	tests/dashboards/pictures/run docs/screenshots

screenshots-pages: release-crowd
	tests/browser/install .cache/browser
	BENCH_SERVER="$(BENCH_SERVER)" node tests/browser/screenshots.mjs docs/screenshots

bench: bench-stages bench-contenders

bench-stages:
	cargo bench --locked --bench stages

BENCH_SERVER ?= $(shell command -v redis-server || echo $(CURDIR)/.cache/servers/redis-7.0/redis-server)

bench-contenders:
	cargo build --locked --release --example crowd
	BENCH_CONTENDERS=1 BENCH_SERVER="$(BENCH_SERVER)" BENCH_CROWD="$(CURDIR)/target/release/examples/crowd" cargo bench --locked --bench contenders

bench-page: release-crowd
	tests/browser/install .cache/browser
	BENCH_SERVER="$(BENCH_SERVER)" node bench/page.mjs

release-crowd:
	cargo build --locked --release --bin redis-client-exporter --example crowd
