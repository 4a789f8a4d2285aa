# The one entry for people and CI. `make help` lists what there is.

TARGET := $(or $(CARGO_TARGET_DIR),target)
LOCAL := $(TARGET)/debug/local

.DEFAULT_GOAL := help
.PHONY: help test sqlx-data

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

test: ## Run every test beside PostgreSQL and Redis servers of its own.
	cargo build --workspace --bins
	$(LOCAL) with-servers -- cargo test --workspace

sqlx-data: ## Write the query files again, after a query or a migration changed.
	cargo build --quiet --package local
	$(LOCAL) sqlx-data
