# Developer commands. `make` alone lists them. Each is a plain cargo command underneath.

.PHONY: help test lint doc deny bench instructions figures peers fuzz soak planted ci

help: ## list the commands
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## /  make \1\t/'

test: ## build and run every test (the second command of the README)
	cargo test --workspace

lint: ## format and clippy, warnings denied
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

doc: ## documentation, warnings denied
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

deny: ## licences, advisories and duplicates, where cargo-deny is installed
	@if cargo deny --version >/dev/null 2>&1; then cargo deny check licenses bans sources; \
	else echo "cargo-deny is not installed: skipped (cargo install cargo-deny)"; fi

bench: ## micro-benchmarks
	cargo bench --workspace

peers: ## the same workloads against NATS and Redis, in one run (ARGS="--quick"; --help lists more)
	cargo run --release --manifest-path benches/peers/Cargo.toml -- $(ARGS)

instructions: ## count the instructions of the hot paths and write the new baseline (needs valgrind)
	STREAMKEEPER_WRITE_BASELINE=1 cargo test --test instructions
	STREAMKEEPER_WRITE_BASELINE=1 cargo test --release --test instructions

figures: ## every workload that has a goal, with the goal beside the figure (a quarter of an hour)
	cargo run --release --bin streamkeeper -- bench all

fuzz: ## fuzz sessions, HTTP and mangled files, a fixed seed and a fresh one of each for a minute (SECONDS=n); frames too, where cargo-fuzz and a nightly toolchain are
	STREAMKEEPER_SOAK=$(or $(SECONDS),60) cargo test --test fuzz -- --nocapture --test-threads 1
	@if cargo +nightly fuzz --version >/dev/null 2>&1; then \
	cd protocol && cargo +nightly fuzz run raw -- -max_total_time=$(or $(SECONDS),60) && \
	cargo +nightly fuzz run structured -- -max_total_time=$(or $(SECONDS),60); \
	else echo "cargo-fuzz and a nightly toolchain are not installed: frames are not fuzzed further"; fi

soak: ## histories over crashes and broken connections, then power cuts, each for ten minutes (SECONDS=n, STREAMKEEPER_SEED=n)
	STREAMKEEPER_SOAK=$(or $(SECONDS),600) cargo test --test histories every -- --nocapture
	STREAMKEEPER_SOAK=$(or $(SECONDS),600) cargo test --test power survives -- --nocapture

planted: ## plant each bug of tests/planted and expect a test to fail (a build and a run each)
	tests/planted/run.sh $(ARGS)

ci: lint doc deny test ## what decides whether a change lands
