# The one entry for people and CI. `make help` lists what there is.

TARGET := $(or $(CARGO_TARGET_DIR),target)
LOCAL := $(TARGET)/debug/local

.DEFAULT_GOAL := help
.PHONY: help up reset test chaos guards lint sqlx-data bench bench-check local

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo '  make up GATEWAYS=2 AUTH=3 PROFILE=2 runs that many of each; LIMITS=off turns the rate limits off.'
	@echo '  make bench SCENARIOS=profile,storm ROUNDS=3 measures a part.'

up: ## Run everything on this machine until Ctrl-C.
	cargo build --release --package gateway --package auth-svc --package profile-svc --package local
	@$(TARGET)/release/local up

reset: local ## Delete the data of `make up`.
	@$(LOCAL) reset

test: ## Run every test, beside PostgreSQL and Redis servers of its own.
	cargo build --workspace --bins
	@$(LOCAL) install
	$(LOCAL) with-servers -- cargo test --workspace --no-fail-fast

chaos: ## Take parts of a running Sallyport away under load, and write docs/RESILIENCE.md (half an hour).
	cargo build --release --workspace --bins
	@$(TARGET)/release/local install --faketime
	$(TARGET)/release/chaos $(ONLY)

guards: ## Take out each guard against a race, and see the test that is named for it fail.
	cargo build --workspace --bins
	@$(LOCAL) install
	@$(LOCAL) with-servers -- $(TARGET)/debug/guards $(ONLY)

lint: local ## Check format, lints, protocol files, query files and layers.
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	$(LOCAL) check-layers
	$(LOCAL) buf -- lint proto
	@$(LOCAL) install
	$(LOCAL) sqlx-data --check

sqlx-data: local ## Write the query files again, after a query or a migration changed.
	@$(LOCAL) install
	$(LOCAL) sqlx-data

bench: local ## Measure Sallyport beside others that do the same work, and write docs/BENCHMARKS.md (25 minutes).
	cargo build --release --package gateway --package auth-svc --package profile-svc --package bench
	@$(LOCAL) install
	$(TARGET)/release/bench run

bench-check: ## Check in a minute that everybody in the benchmark answers correctly; judge no times.
	cargo build --workspace --bins
	@$(LOCAL) install
	$(TARGET)/debug/bench check

local:
	@cargo build --quiet --package local
