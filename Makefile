# The two commands: `make demo` and `make test`. Each installs what is missing first; so do the others.
.PHONY: demo test setup bless oracle compare fuzz clean

FLAGS := --locked --workspace

# A machine whose stable toolchain is of the pinned version needs no second copy under its number.
PINNED := $(shell sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
ifeq ($(findstring $(PINNED)-,$(shell rustup toolchain list 2>/dev/null)),)
ifneq ($(findstring rustc $(PINNED) ,$(shell rustc +stable --version 2>/dev/null)),)
export RUSTUP_TOOLCHAIN := stable
endif
endif

# One example from source to numbers.
demo: setup
	@scripts/demo

# The fuzz targets are only checked, never linked here: any file stands for libFuzzer, which then need
# not be compiled.
UNLINKED := CUSTOM_LIBFUZZER_PATH=/dev/null

# Format, lints, tests, documentation: what continuous integration runs.
test: setup
	cargo fmt --all --check
	cargo clippy $(FLAGS) --all-targets -- -D warnings
	if cargo nextest --version >/dev/null 2>&1; \
	then cargo nextest run $(FLAGS) --no-fail-fast; \
	else cargo test $(FLAGS) --no-fail-fast --lib --bins --tests; fi
	cargo test --locked --doc -p sluice-ir -p sluice-dsl -p sluice-passes -p sluice-stdlib
	RUSTDOCFLAGS="-D warnings" cargo doc $(FLAGS) --no-deps
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	$(UNLINKED) cargo clippy --locked --manifest-path fuzz/Cargo.toml --all-targets -- -D warnings

setup:
	@scripts/setup

# Accepts the snapshots of a run, for review in the diff.
bless: setup
	INSTA_UPDATE=always cargo test $(FLAGS) --lib --bins --tests

# The programs of the library against the references of flash-linear-attention; installs torch.
oracle: setup
	@scripts/oracle

# Ours and the peers side by side on a GPU; needs a Python with torch, triton, fla-core and mlstm-kernels.
compare: setup
	cargo build --locked --bin sluice
	bench/compare --sluice "$${CARGO_TARGET_DIR:-target}/debug/sluice" $(ARGS)

# Random texts and random programs against the front of the compiler, a minute each.
fuzz:
	scripts/fuzz parse 60
	scripts/fuzz lower 60

clean:
	cargo clean
	rm -rf out
