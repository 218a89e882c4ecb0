#!/bin/bash
# Runs schemathesis against a single node that it starts, beside a simulated Asterisk whose callers are
# being answered: requests made from the OpenAPI description, good and bad, and every answer held to it.
# What the requests changed is put back afterwards, and then callers must be answered again.
# `make schemathesis FOR=60`.
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
running=()
finish() {
    [ ${#running[@]} = 0 ] || { kill "${running[@]}" 2>/dev/null || true; wait "${running[@]}" 2>/dev/null || true; }
    rm -rf "$dir"
}
trap finish EXIT

# Three ports that were free a moment ago.
read -r raft http ari < <(python3 -c 'import socket
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
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
[asterisk]
url = "http://127.0.0.1:$ari/ari"
username = "holdfast"
password = "secret"
TOML
cat > "$dir/queues.toml" <<TOML
[queue.support]
members = { 1001 = {}, 1002 = {} }
[agent.1001]
nodes = ["a"]
[agent.1002]
nodes = ["a"]
TOML
holdfast=$(cd "${CARGO_TARGET_DIR:-$root/target}" && pwd)/debug/holdfast
export HOLDFAST_SERVER=http://127.0.0.1:$http HOLDFAST_TOKEN=$token
"$holdfast" sim --listen "127.0.0.1:$ari" --agents 1001,1002 --queues support --calls-per-minute 60 \
    > "$dir/sim.log" 2>&1 &
running+=($!)
"$holdfast" serve -c "$dir/node.toml" > "$dir/log" 2>&1 &
node=$!
running+=("$node")
for _ in $(seq 300); do
    curl -sf "http://127.0.0.1:$http/readyz" >/dev/null && ready=1 && break
    kill -0 "$node" 2>/dev/null || { cat "$dir/log" >&2; fail "the node ended"; }
    sleep 0.1
done
[ -n "${ready:-}" ] || { cat "$dir/log" >&2; fail "the node did not become ready"; }

answered() { curl -sf "$HOLDFAST_SERVER/metrics" | sed -n 's/^holdfast_answer_to_bridge_seconds_count //p'; }
# Lets go whoever waits in a queue that the requests have made.
let_go() {
    local call
    for call in $(curl -sf -H "Authorization: Bearer $token" "$HOLDFAST_SERVER/v1/calls" |
        python3 -c 'import json, sys
for call in json.load(sys.stdin)["items"]:
    if call["queue"] != "support": print(call["id"])'); do
        "$holdfast" call withdraw --quiet "$call" || true
    done
}
# Puts the queue and its agents in force. A queue is not deleted while it holds callers.
put_back() {
    for _ in $(seq 30); do
        "$holdfast" apply --quiet --prune -f "$dir/queues.toml" && return
        let_go
        sleep 1
    done
    fail "the queues could not be put back $1"
}
# Waits until one more caller was answered.
answer_one_more() {
    local before
    put_back "$1"
    for agent in 1001 1002; do
        "$holdfast" agent login --quiet "$agent"
        "$holdfast" agent unpause --quiet "$agent"
    done
    before=$(answered)
    for _ in $(seq 600); do
        [ "$(answered)" -gt "$before" ] && return
        sleep 0.1
    done
    tail -20 "$dir/sim.log" "$dir/log" >&2
    fail "no caller was answered for a minute $1"
}
answer_one_more "before the requests"

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
answer_one_more "after the requests"
exit "$status"
