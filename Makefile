# Two commands do all set-up: `make demo` runs the main job, `make test` passes the tests.
# `make verify` is the quick read-only gate; `make fix` changes files.

CARGO ?= cargo

.PHONY: demo test verify fix tools asterisk build clean

demo:
	$(CARGO) run --locked --quiet -- demo $(ARGS)

test: tools asterisk verify
	$(CARGO) nextest run --locked --workspace --no-fail-fast

verify:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets --quiet -- -D warnings

fix:
	$(CARGO) fmt --all
	$(CARGO) clippy --workspace --all-targets --fix --allow-dirty --allow-staged

build:
	$(CARGO) build --locked --workspace --all-targets

# What the tests need beside the toolchain: the test runner, and (unpacked into a cache folder,
# without root) a real Asterisk 22 and sipp. The tests on real disks need what breaks them.
DISK_PACKAGES = e2fsprogs xfsprogs mount perl strace
tools:
	@command -v cargo-nextest >/dev/null || $(CARGO) install --locked cargo-nextest
	@dpkg --status $(DISK_PACKAGES) >/dev/null 2>&1 || if [ "$$(id -u)" = 0 ]; then \
	    apt-get update -qq && apt-get install -y -qq --no-install-recommends $(DISK_PACKAGES); \
	else \
	    echo "the tests on real disks need: sudo apt-get install $(DISK_PACKAGES)" >&2; exit 1; \
	fi

asterisk:
	@deploy/testbed/get-asterisk.sh

clean:
	$(CARGO) clean
