# Two commands do all set-up: `make demo` runs the main job, `make test` passes the tests.
# `make verify` is the quick read-only gate; `make fix` changes files.

CARGO ?= cargo

.PHONY: demo test simulate verify fix tools asterisk build clean

demo:
	$(CARGO) run --locked --quiet -- demo $(ARGS)

test: tools asterisk verify
	$(CARGO) nextest run --locked --workspace --no-fail-fast
	$(CARGO) nextest run --locked --package holdfast-simulation --features planted --test planted

# The deterministic simulation, in virtual time. `make simulate SEED=7` runs one seed and prints its
# options, what the nodes log and the hash of its trace; `make simulate SEEDS=10000` runs many, each in
# a process of its own, from SEED on.
SEED ?= 1
simulate:
	$(CARGO) build --locked --release --quiet --package holdfast-simulation
	target/release/simulate --seed $(SEED) $(if $(SEEDS),--seeds $(SEEDS),--verbose) $(ARGS)

verify:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets --quiet -- -D warnings

fix:
	$(CARGO) fmt --all
	$(CARGO) clippy --workspace --all-targets --fix --allow-dirty --allow-staged

build:
	$(CARGO) build --locked --workspace --all-targets

# What the tests need beside the toolchain: the test runner, and (unpacked into a cache folder,
# without root) a real Asterisk 22 and sipp.
tools:
	@command -v cargo-nextest >/dev/null || $(CARGO) install --locked cargo-nextest

asterisk:
	@deploy/testbed/get-asterisk.sh

clean:
	$(CARGO) clean
