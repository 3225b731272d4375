# The one entry point for people and for CI. `make help` lists the targets.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

CARGO ?= cargo
CONFIG ?= deploy/gorani.dev.toml
# Seconds that each fuzz target runs.
FUZZ_SECONDS ?= 30
# No sanitizer: there is no unsafe code to find faults in, and with one a build takes several times as long. FUZZ_FLAGS= asks for it.
FUZZ_FLAGS ?= --sanitizer none --codegen-units 16
# Arguments of the benchmark: `make bench BENCH_ARGS=--smoke` only proves that it runs, in any build.
BENCH_ARGS ?=
BENCH_PROFILE ?= release
# Arguments of the audit: `make audit AUDIT_ARGS="--scenario kill-node --seconds 60"`.
AUDIT_ARGS ?=
# Arguments of the attack: `make attack ATTACK_ARGS="--seconds 60 --only silent-tls,http2-streams"`.
ATTACK_ARGS ?=
# Arguments of the check of layers: --write takes what is gone from its lists of exceptions, --explain tells where each comes from.
LAYERS_ARGS ?=
# `make test-keycloak`: docs/keycloak.md names it too.
KEYCLOAK_VERSION ?= 26.7.3
# `make up`: how many nodes, and METRICS=1 for Prometheus and Grafana beside them.
NODES ?= 3
METRICS ?=
# `make run-example`: empty for the app, python or node for a backend that is asked and told.
BACKEND ?=

# Tests of one program at a time, on two cores: most of them wait for a server or a clock.
RUST_TEST_THREADS ?= 4
export RUST_TEST_THREADS

TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))
# The bench beside the node that it measures. Both are built with the whole workspace, as the tests are: by themselves they would be
# compiled once more, with other features of their dependencies.
BENCH = GORANI_BIN=$(TARGET_DIR)/$(BENCH_PROFILE:dev=debug)/gorani $(TARGET_DIR)/$(BENCH_PROFILE:dev=debug)/bench
# The fuzzers need unstable compiler flags; this allows them on the stable toolchain, for that one command.
# docker compose v2 where it is, else docker-compose 1.29.
COMPOSE = $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose) \
	--project-name gorani --env-file $(CURDIR)/deploy/.env --file deploy/docker-compose.yml

FUZZ := RUSTC_BOOTSTRAP=1 $(CARGO) fuzz

.PHONY: help run run-example build deb test test-rust test-e2e test-java test-spring test-keycloak test-tools journeys vendor fmt fmt-check lint lint-scripts check-features layers bench audit compat golden attack turns simulate fuzz doc ci up down

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

run: ## build the node and start it with deploy/gorani.dev.toml (CONFIG=… for another file)
	$(CARGO) build --release --locked -p gorani --bin gorani
	exec $(TARGET_DIR)/release/gorani serve --config $(CONFIG)

run-example: ## a small app with its node (services/example; Node 18); BACKEND=python or node: a backend that is asked and told (services/example-backend)
	$(CARGO) build --release --locked -p gorani --bin gorani
	exec $(if $(BACKEND),services/example-backend/run.sh $(TARGET_DIR)/release/gorani $(BACKEND),services/example/run.sh $(TARGET_DIR)/release/gorani)

up: ## a cluster in docker: Redis, NODES (3) nodes, nginx; METRICS=1 adds Prometheus and Grafana; again after a change: node by node
	@deploy/development-keys.sh deploy/.env
	deploy/rolling-update.sh $(NODES) $(COMPOSE) $(if $(METRICS),--profile metrics)
	@. deploy/.env; at="http://$${GORANI_LISTEN:-127.0.0.1:8000}"; echo; \
	echo "$(NODES) nodes are up behind nginx, on $$at. To receive, and in another terminal to publish:"; \
	echo "  curl -N \"$$at/connection/uni_sse?channels=app:hello&token=\$$(docker exec \$$(docker ps -qf label=com.docker.compose.service=gateway | head -n 1) gorani token --user me --ttl 1h)\""; \
	echo "  . deploy/.env && curl $$at/api/publish -H \"X-API-Key: \$$GORANI_API_KEY\" -H 'Content-Type: application/json' -d '{\"channel\":\"app:hello\",\"data\":1}'"; \
	echo "To look inside, $$at/admin/ with the password GORANI_ADMIN_PASSWORD of deploy/.env."

down: ## end that cluster; its data stay (docker volume ls)
	$(COMPOSE) --profile metrics down

build: ## the debug binaries that the black-box tests start
	$(CARGO) build --workspace --bins

deb: ## a Debian package with service, settings, man pages and completions, in target/debian
	@command -v cargo-deb >/dev/null || $(CARGO) install --locked cargo-deb
	$(CARGO) build --release --locked -p gorani --bin gorani
	deploy/debian/generate.sh $(TARGET_DIR)/release/gorani $(TARGET_DIR)/release/packaging
	$(CARGO) deb --package gorani --no-build --locked

test: test-tools build test-rust test-e2e ## every test: Rust, the SDKs in Node, Python and Go, the page in Chromium, the API's libraries in Python and Go

test-rust: test-tools build ## the Rust tests alone
	GORANI_BIN=$(TARGET_DIR)/debug/gorani $(CARGO) test --workspace

test-e2e: test-tools build ## the Node, browser, Python and Go tests alone
	cd tests/e2e && GORANI_BIN=$(TARGET_DIR)/debug/gorani npm test
	cd tests/e2e && GORANI_BIN=$(TARGET_DIR)/debug/gorani .venv/bin/python cent_test.py
	cd tests/e2e && GORANI_BIN=$(TARGET_DIR)/debug/gorani .venv/bin/python centrifuge_test.py
	cd tests/e2e/go && PATH="$(CURDIR)/tests/e2e/.venv/bin:$$PATH" GORANI_BIN=$(TARGET_DIR)/debug/gorani go test -count=1 ./...
	cd tests/e2e && GORANI_BIN=$(TARGET_DIR)/debug/gorani .venv/bin/python stomp_test.py

test-java: test-tools build ## the Java SDK from Maven, which is that of Android (Java 17, Maven)
	@tests/spring/tools.sh
	cd tests/java && GORANI_BIN=$(TARGET_DIR)/debug/gorani mvn -q -B test

test-spring: test-tools build ## Spring's STOMP client, and a Spring Boot application with a broker relay (Java 17, Maven)
	@tests/spring/tools.sh
	cd tests/spring && GORANI_BIN=$(TARGET_DIR)/debug/gorani mvn -q -B test

test-keycloak: test-tools build ## logins to the admin page by a real Keycloak, by the steps of its document (Java 17, Maven; downloads 160 MB)
	@tests/spring/tools.sh
	@tests/e2e/keycloak/tools.sh $(KEYCLOAK_VERSION) $(TARGET_DIR)/keycloak
	cd tests/e2e && GORANI_BIN=$(TARGET_DIR)/debug/gorani KEYCLOAK_HOME=$(TARGET_DIR)/keycloak/keycloak-$(KEYCLOAK_VERSION) node --test keycloak/logins.js

test-tools: ## install what the tests need and the machine lacks
	@tests/e2e/tools.sh

journeys: ## from a clean clone, by what the documents say: a first app, Spring with two instances, an operator who is woken, a phone's SDK
	tests/journeys.sh

vendor: ## take the admin page's libraries from npm, in the versions of tests/e2e/package-lock.json, with a list of their hashes
	cd tests/e2e && npm ci --ignore-scripts --no-progress && node vendor.js

fmt: ## format the Rust code
	$(CARGO) fmt --all

fmt-check: ## fail where `make fmt` would change something
	$(CARGO) fmt --all --check

lint: ## clippy on every target, and the licences and sources of all dependencies
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
		$(CARGO) deny --offline check bans licenses sources; \
	else \
		echo "lint: cargo-deny is not installed, so bans, licences and sources were NOT checked (cargo install --locked cargo-deny)"; \
	fi

lint-scripts: test-tools ## names that the JavaScript and Python of the project use and do not have, or have and do not use
	tests/e2e/node_modules/.bin/biome lint --error-on-warnings
	tests/e2e/.venv/bin/python -m pyflakes $$(find services tests -name '*.py' -not -path '*/.venv/*' -not -path '*/node_modules/*')

check-features: ## that the node builds without its optional parts, the admin API, `gorani top` and traces
	$(CARGO) check --locked --workspace --no-default-features
	$(CARGO) check --locked --workspace --no-default-features --features gorani/admin

layers: ## the direction of the dependencies, between crates, rooms and files; type names and words that are not to be used
	$(CARGO) run --quiet --locked --bin layers -- $(LAYERS_ARGS)

# BENCH_ARGS="crowd --write": 5 nodes of 19,000 connections each receive a broadcast; crowd --million: 53 nodes, 1,001,700
# connections, about 11 GB of memory. BENCH_ARGS="storm --write": nodes with 19,000 clients each are killed, and all clients
# return to the others and recover. BENCH_ARGS="transports --write": the ways
# to receive over HTTP beside WebSocket, and a forwarded request beside a local one. BENCH_ARGS="queue --write": messages of a
# work queue per second, through Redis with one and three nodes, and with the embedded broker. BENCH_ARGS="--only instructions
# --repeats 1 --old <binary>": instructions per delivery and request, by valgrind, beside a node from before a change.
bench: ## measure fan-out, memory, set-up, publishing and latency beside the stock actors; with --write also figures (release build)
	$(CARGO) build --profile $(BENCH_PROFILE) --locked --workspace --bins
	$(BENCH) $(BENCH_ARGS)

audit: ## break a cluster in every way while it is under load, and count what is lost, doubled or reordered (AUDIT_ARGS=--brief)
	$(CARGO) build --profile $(BENCH_PROFILE) --locked --workspace --bins
	$(BENCH) audit $(AUDIT_ARGS)

# The version whose nodes this one must run with in one cluster: that of the last release. COMPAT_BIN names its binary where there is
# one already. In the tests of clusters every second node is of that version; COMPAT_FIRST says which version the first node has. The
# short form takes a minute with a binary: COMPAT_FIRST=other AUDIT_ARGS=--brief.
COMPAT_COMMIT ?= f2901af
COMPAT_DIR := $(TARGET_DIR)/compat/$(COMPAT_COMMIT)
COMPAT_BIN ?= $(COMPAT_DIR)/gorani
COMPAT_FIRST ?= own other
# What needs settings that the other version does not know, and what is one node alone, is left out.
COMPAT_TESTS ?= cluster:: forward:: receive::nodes:: stomp::queues::every_message --skip admin:: --skip explain --skip golden

$(COMPAT_DIR)/gorani:
	mkdir -p $(COMPAT_DIR) && rm -rf $(COMPAT_DIR)/source && git worktree prune
	git worktree add --detach --force $(COMPAT_DIR)/source $(COMPAT_COMMIT)
	cd $(COMPAT_DIR)/source && $(CARGO) build --profile $(BENCH_PROFILE) --locked -p gorani --bin gorani --target-dir $(COMPAT_DIR)/target
	mv $(COMPAT_DIR)/target/$(BENCH_PROFILE:dev=debug)/gorani $@
	git worktree remove --force $(COMPAT_DIR)/source && rm -rf $(COMPAT_DIR)/target

compat: $(COMPAT_BIN) ## this version and the last one in one cluster: its tests, rolled forward and back under load, and what the last one wrote
	$(CARGO) build --profile $(BENCH_PROFILE) --locked --workspace --bins
	$(BENCH) audit --mixed $(abspath $(COMPAT_BIN)) $(AUDIT_ARGS)
	for first in $(COMPAT_FIRST); do \
		GORANI_BIN=$(TARGET_DIR)/$(BENCH_PROFILE:dev=debug)/gorani GORANI_OTHER_BIN=$(abspath $(COMPAT_BIN)) GORANI_FIRST=$$first \
			$(CARGO) test --workspace --locked --test system -- $(COMPAT_TESTS) || exit 1; \
	done
	GORANI_BIN=$(TARGET_DIR)/$(BENCH_PROFILE:dev=debug)/gorani GORANI_OTHER_BIN=$(abspath $(COMPAT_BIN)) \
		$(CARGO) test --workspace --locked --test system -- --ignored a_node_of_another_version
	GORANI_BIN=$(TARGET_DIR)/$(BENCH_PROFILE:dev=debug)/gorani $(CARGO) test --workspace --locked --test system -- golden distant_version
	$(CARGO) test --workspace --locked --lib golden

golden: $(COMPAT_BIN) ## write the files of a version that is being released, for tests/system/golden: GOLDEN=<version> COMPAT_BIN=<its binary>
	GORANI_GOLDEN=$(CURDIR)/tests/system/golden/$(GOLDEN) GORANI_BIN=$(abspath $(COMPAT_BIN)) \
		$(CARGO) test --workspace --locked --test system -- --ignored the_files_of_a_released_version_are_written

attack: ## hostile clients from ten addresses against a cluster under load; what honest clients notice (ATTACK_ARGS=--brief)
	$(CARGO) build --profile $(BENCH_PROFILE) --locked --workspace --bins
	$(BENCH) attack $(ATTACK_ARGS)

turns: ## hostile input against a release build: no turn of a worker over 5 ms (best on a machine with nothing else to do)
	$(CARGO) build --profile $(BENCH_PROFILE) --locked -p gorani --bin gorani
	GORANI_BIN=$(TARGET_DIR)/$(BENCH_PROFILE:dev=debug)/gorani \
		$(CARGO) test --locked -p gorani-tests --test system hostile::turns -- --test-threads 1

SEEDS ?= 1000
simulate: ## nodes in a simulated world, for SEEDS seeds (from FROM on; SEED=… for one, SCHEDULE=file to replay its steps; NODES=1000: a large cluster)
ifeq ($(origin NODES),command line)
	NODES=$(NODES) $(CARGO) test --profile $(BENCH_PROFILE) --locked -p gorani --lib simulation::many_nodes -- --nocapture
else
	SEEDS=$(SEEDS) $(CARGO) test --profile $(BENCH_PROFILE) --locked -p gorani --lib simulation::nothing -- --nocapture
endif

# As many at a time as there are cores; the output of each is printed when it ends.
fuzz: ## run every fuzz target for FUZZ_SECONDS (30), from its seeds and what it found before
	@command -v cargo-fuzz >/dev/null || $(CARGO) install --locked cargo-fuzz
	$(FUZZ) build --fuzz-dir tests/fuzz $(FUZZ_FLAGS)
	@$(FUZZ) list --fuzz-dir tests/fuzz | xargs -P "$$(nproc)" -I TARGET bash -c '\
		mkdir -p tests/fuzz/corpus/TARGET tests/fuzz/seeds/TARGET; \
		output=$$($(FUZZ) run --fuzz-dir tests/fuzz $(FUZZ_FLAGS) TARGET tests/fuzz/corpus/TARGET tests/fuzz/seeds/TARGET -- \
			-max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 -verbosity=0 2>&1); result=$$?; \
		printf "fuzz: TARGET, $(FUZZ_SECONDS) s\n%s\n" "$$output"; exit $$result'

# With the private parts, so links to them lead somewhere: the readers are those who change the code.
doc: ## the documentation of the code; a warning is an error
	RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" $(CARGO) doc --workspace --no-deps --document-private-items --locked

# One after the other: two cargo commands at once only wait for each other's lock.
ci: ## all of the above checks, as the build machine runs them
	$(MAKE) fmt-check
	$(MAKE) lint
	$(MAKE) lint-scripts
	$(MAKE) check-features
	$(MAKE) layers
	$(MAKE) doc
	$(MAKE) test
	$(MAKE) test-java
	$(MAKE) test-spring
	$(MAKE) fuzz FUZZ_SECONDS=15
	$(MAKE) bench BENCH_ARGS=--smoke BENCH_PROFILE=dev
	$(MAKE) bench BENCH_ARGS="crowd --nodes 3 --connections 100 --repeats 1" BENCH_PROFILE=dev
	$(MAKE) bench BENCH_ARGS="transports --smoke" BENCH_PROFILE=dev
	$(MAKE) bench BENCH_ARGS="queue --smoke" BENCH_PROFILE=dev
	$(MAKE) bench BENCH_ARGS="backend --smoke" BENCH_PROFILE=dev
	$(MAKE) audit AUDIT_ARGS="--brief --parallel 3" BENCH_PROFILE=dev
