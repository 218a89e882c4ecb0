# Two commands do all set-up: `make demo` runs the main job, `make test` passes the tests.
# `make verify` is the quick read-only gate; `make fix` changes files.

CARGO ?= cargo

.PHONY: demo test verify fix tools fuzz-tools fuzz schemathesis asterisk build clean

demo:
	$(CARGO) run --locked --quiet -- demo $(ARGS)

test: tools asterisk verify
	$(CARGO) nextest run --locked --workspace --no-fail-fast

# Hostile input: every fuzz target for FOR seconds, two at a time (docs/hostile-input.md).
fuzz: fuzz-tools
	@FOR=$(or $(FOR),60) fuzz/run.sh

# Requests made from the OpenAPI description against a running node, for FOR seconds.
schemathesis:
	@FOR=$(or $(FOR),20) jepsen-style-tests/hostile/schemathesis.sh

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

fuzz-tools:
	@command -v cargo-fuzz >/dev/null || $(CARGO) install --locked cargo-fuzz

asterisk:
	@deploy/testbed/get-asterisk.sh

clean:
	$(CARGO) clean
