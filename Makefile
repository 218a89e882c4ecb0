# Two commands do all set-up: `make demo` runs the main job, `make test` passes the tests.
# `make verify` is the quick read-only gate; `make fix` changes files.

CARGO ?= cargo

.PHONY: demo test test-simulation test-costs simulate drill soak bench verify fix tools fuzz-tools fuzz fuzz-build schemathesis asterisk build clean

demo:
	$(CARGO) run --locked --quiet -- demo $(ARGS)

# The drills wait more than they work: what the simulation needs is built beside them, at the lowest
# priority. If that build fails, the one that uses it tells why.
test: tools asterisk verify
	@nice -n 19 $(CARGO) nextest run --no-run $(SIMULATION) >/dev/null 2>&1 & \
	$(CARGO) nextest run --locked --workspace --exclude holdfast-simulation --no-fail-fast; \
	status=$$?; wait; exit $$status
	$(MAKE) test-simulation
	$(MAKE) test-costs

# Hundreds of seeds and the deliberate bugs: ten times faster built for release, which more than pays
# for that build.
SIMULATION = --locked --release --package holdfast-simulation --features planted
test-simulation:
	$(CARGO) nextest run $(SIMULATION) --no-fail-fast

# Instructions of the core's hot paths, against benches/costs.txt: the same on every machine.
test-costs:
	$(CARGO) nextest run --locked --release --manifest-path benches/Cargo.toml --target-dir target --no-fail-fast

# The deterministic simulation, in virtual time. `make simulate SEED=7` runs one seed and prints its
# options, what the nodes log and the hash of its trace; `make simulate SEEDS=10000` runs many, each in
# a process of its own, from SEED on.
simulate:
	$(CARGO) build --locked --release --quiet --package holdfast-simulation
	target/release/simulate --seed $(or $(SEED),1) $(if $(SEEDS),--seeds $(SEEDS),--verbose) $(ARGS)

# Hostile input: every fuzz target for FOR seconds, two at a time (docs/hostile-input.md).
fuzz: fuzz-tools
	@FOR=$(or $(FOR),60) fuzz/run.sh

fuzz-build: fuzz-tools
	@BUILD=1 fuzz/run.sh

# Requests made from the OpenAPI description against a running node, for FOR seconds.
schemathesis:
	@FOR=$(or $(FOR),20) jepsen-style-tests/hostile/schemathesis.sh

# Breaks an installation on purpose and judges what came of it; root is needed. Alone it lists what
# there is: make drill NEMESIS=kill-leader,clock-jump FOR=5m REAL=1 SEED=7 PAIRS=1
drill: build-drill
	@$(CARGO) run --locked --quiet -p holdfast-drills --bin drill

# The same for long, with a fault every minute: memory, open files and disk must stay as they are.
# make soak FOR=1h SEED=7
soak: build-drill
	@SOAK=1 $(CARGO) run --locked --quiet -p holdfast-drills --bin drill

.PHONY: build-drill
build-drill:
	@$(CARGO) build --locked --quiet -p holdfast -p holdfast-drills --bins

# Side by side with others, one page in benches/runs (benches/README.md); for a quiet machine.
# make bench ONLY=dispatch runs one part, QUICK=1 only shows that the parts run.
bench:
	$(CARGO) run --locked --quiet --manifest-path benches/Cargo.toml --target-dir target --bin page -- \
	    $(if $(ONLY),--only $(ONLY)) $(if $(QUICK),--quick) $(ARGS)

verify:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets --quiet -- -D warnings

fix:
	$(CARGO) fmt --all
	$(CARGO) clippy --workspace --all-targets --fix --allow-dirty --allow-staged

build:
	$(CARGO) build --locked --workspace --all-targets

# What the tests need beside the toolchain: the test runner, and (unpacked into a cache folder,
# without root) a real Asterisk 22 and sipp. The drills and the tests on real disks need what makes
# hosts and breaks them, the costs what counts instructions.
PACKAGES = iproute2 nftables strace faketime e2fsprogs xfsprogs mount perl gcc valgrind
tools:
	@command -v cargo-nextest >/dev/null || $(CARGO) install --locked cargo-nextest
	@dpkg --status $(PACKAGES) >/dev/null 2>&1 || if [ "$$(id -u)" = 0 ]; then \
	    apt-get update -qq && apt-get install -y -qq --no-install-recommends $(PACKAGES); \
	else \
	    echo "the tests need these packages: sudo apt-get install $(PACKAGES)" >&2; exit 1; \
	fi

fuzz-tools:
	@command -v cargo-fuzz >/dev/null || $(CARGO) install --locked cargo-fuzz

asterisk:
	@deploy/testbed/get-asterisk.sh

clean:
	$(CARGO) clean
