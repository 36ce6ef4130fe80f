# make demo    demonstrates the exporter on a temporary Redis; Ctrl-C stops everything. The first time, it compiles for
#              1 to 3 minutes
# make test    installs what the tests need, and runs all tests
# make check   runs what CI runs: formatting, lints, docs, tests
# make static  builds the program as one file that needs no C library; prints its path
# make bench   measures parse, derive and encode at 1k, 10k and 100k clients; then the cost for a server with 19,000
#              clients, compared with a full listing and redis_exporter (BENCH_SERVER: another server; see
#              bench/contenders.rs)
# make bench-page   measures the pages with 19,000 clients in a browser (see bench/page.mjs); about 15 minutes
# make screenshots  takes the screenshots in docs/screenshots from real runs; about 20 minutes
.PHONY: demo test check lint servers static bench bench-stages bench-contenders bench-page screenshots screenshots-dashboards \
	screenshots-pages release-crowd

# Servers: real ones of six generations, Prometheus, Alertmanager and systemd-analyze. Kits, each with its own
# installer: libraries of the subscribers in other languages, checkers for the files in deploy/, the schema of
# dashboards, a browser driver (as root also the browser), a tester for the API, and
# the frameworks whose client names are tested (450 MB).
SERVERS = redis-6.2 redis-7.0 redis-8.0 redis-8.2 valkey-8.1 valkey-9.1 prometheus alertmanager systemd-analyze
# Scripts whose syntax is checked, since tests do not run all of them.
SCRIPTS = deploy/demo/run deploy/subscribers/subscriber.sh deploy/static tests/*/install tests/lint/check tests/dashboards/pictures/run .ci/run
MODULES = $(wildcard bench/*.mjs tests/*/*.mjs tests/*/*/*.mjs deploy/subscribers/*.mjs src/web/assets/*.js)
KITS = subscribers deploy dashboards browser api frameworks

demo:
	@deploy/demo/run

test: servers
	cargo test --locked

# On a developer's machine, tests of a missing server are skipped with a message. In CI a missing server is a failure.
servers:
	@tests/servers/install .cache/servers $(SERVERS) || test -z "$$CI"
	@for kit in $(KITS); do "tests/$$kit/install" ".cache/$$kit" || test -z "$$CI" || exit 1; done

static:
	@deploy/static

check: lint test

lint:
	@tests/lint/check
	@for script in $(SCRIPTS); do bash -n "$$script" || exit 1; done
	@! command -v node > /dev/null || for script in $(MODULES); do node --input-type=module --check < "$$script" || exit 1; done
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items

# Screenshots for docs/screenshots. A person has to review them, so they are not part of CI.
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
	BENCH_CONTENDERS=1 BENCH_SERVER="$(BENCH_SERVER)" cargo bench --locked --bench contenders

bench-page: release-crowd
	tests/browser/install .cache/browser
	BENCH_SERVER="$(BENCH_SERVER)" node bench/page.mjs

release-crowd:
	cargo build --locked --release --features crowd
