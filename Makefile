# The two commands: `make demo` and `make test`. Each installs what is missing first.
.PHONY: demo test setup bless clean

CARGO_FLAGS := --locked
NEXTEST := $(shell cargo nextest --version >/dev/null 2>&1 && echo nextest)

# One example from source to numbers.
demo: setup
	@scripts/demo

# Format, lints, tests, documentation: what CI runs.
test: setup
	cargo fmt --all --check
	cargo clippy $(CARGO_FLAGS) --workspace --all-targets -- -D warnings
ifeq ($(NEXTEST),nextest)
	cargo nextest run $(CARGO_FLAGS) --workspace --no-fail-fast
else
	cargo test $(CARGO_FLAGS) --workspace --no-fail-fast --lib --bins --tests
endif
	cargo test $(CARGO_FLAGS) --doc -p sluice-ir -p sluice-dsl -p sluice-passes -p sluice-stdlib
	RUSTDOCFLAGS="-D warnings" cargo doc $(CARGO_FLAGS) --workspace --no-deps

setup:
	@scripts/setup

# Accepts the snapshots of a run, for review in the diff.
bless: setup
	INSTA_UPDATE=always cargo test $(CARGO_FLAGS) --workspace --lib --bins --tests

clean:
	cargo clean
	rm -rf out
