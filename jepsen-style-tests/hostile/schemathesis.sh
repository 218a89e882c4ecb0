#!/bin/bash
# Runs schemathesis against a single node that it starts: requests made from the OpenAPI description,
# good and bad, and every answer held to it. `make schemathesis FOR=60`.
#
#   FOR               seconds of made-up requests after the fixed ones   (default 20)
#   HOLDFAST_CACHE    folder for the pinned schemathesis   (default: $XDG_CACHE_HOME/holdfast or ~/.cache/holdfast)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..
seconds=${FOR:-20}
cache=${HOLDFAST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/holdfast}
fail() { echo "schemathesis.sh: $*" >&2; exit 1; }

pins=$here/schemathesis.txt
venv=$cache/schemathesis-$(sha256sum "$pins" | cut -c1-12)
if [ ! -e "$venv/done" ]; then
    command -v python3 >/dev/null || fail "python3 is missing; run \`apt-get install python3 python3-venv\`"
    mkdir -p "$cache"
    rm -rf "$venv"
    python3 -m venv "$venv" || fail "cannot make a venv; run \`apt-get install python3-venv\`"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$pins"
    touch "$venv/done"
fi

(cd "$root" && ${CARGO:-cargo} build --locked --quiet)
dir=$(mktemp -d)
node=
finish() {
    [ -z "$node" ] || { kill "$node" 2>/dev/null || true; wait "$node" 2>/dev/null || true; }
    rm -rf "$dir"
}
trap finish EXIT

# Two ports that were free a moment ago.
read -r raft http < <(python3 -c 'import socket
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(s.getsockname()[1] for s in held))')
token=schemathesis-token-0123456789
cat > "$dir/node.toml" <<TOML
[node]
name = "a"
data_dir = "$dir/data"
[cluster]
listen = "127.0.0.1:$raft"
secret = "0123456789abcdef0123"
[http]
listen = "127.0.0.1:$http"
tokens = [{ name = "tester", token = "$token" }]
TOML
"${CARGO_TARGET_DIR:-$root/target}/debug/holdfast" serve -c "$dir/node.toml" > "$dir/log" 2>&1 &
node=$!
for _ in $(seq 300); do
    curl -sf "http://127.0.0.1:$http/readyz" >/dev/null && ready=1 && break
    kill -0 "$node" 2>/dev/null || { cat "$dir/log" >&2; fail "the node ended"; }
    sleep 0.1
done
[ -n "${ready:-}" ] || { cat "$dir/log" >&2; fail "the node did not become ready"; }

# Left out, each for a reason: events (a stream never ends); step_down and remove_node (a single node
# would lose its only member); positive_data_acceptance (what two values mean together, such as two
# spellings of one key, no schema tells, and 422 is the right answer).
status=0
cd "$dir"
"$venv/bin/schemathesis" run "http://127.0.0.1:$http/v1/openapi.json" \
    --header "Authorization: Bearer $token" \
    --exclude-operation-id events --exclude-operation-id step_down --exclude-operation-id remove_node \
    --exclude-checks positive_data_acceptance,ensure_resource_availability,use_after_free \
    --phases "${PHASES:-coverage,fuzzing}" --max-examples 30 --max-time "$seconds" \
    --request-timeout 12 --continue-on-failure --no-shrink ${ARGS:-} || status=$?
# The node lives, is ready, and answered nothing with a fault of its own.
kill -0 "$node" 2>/dev/null || { tail -50 "$dir/log" >&2; fail "the node ended"; }
curl -sf "http://127.0.0.1:$http/readyz" >/dev/null || fail "the node is no longer ready"
exit "$status"
