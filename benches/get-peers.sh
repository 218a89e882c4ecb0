#!/bin/bash
# Fetches the stores that Holdfast's is measured against, etcd and Redis, into a cache folder, without
# root and without touching the system: packages are downloaded by the machine's own apt and unpacked.
# Programs that the system has already are taken instead. Running it again does nothing; two at once
# wait for each other.
#
#   get-peers.sh               prints the folder, which then holds bin/etcd and bin/redis-server
#
# HOLDFAST_CACHE   cache folder           (default: $XDG_CACHE_HOME/holdfast or ~/.cache/holdfast)
set -euo pipefail

# Raised whenever what this script makes changes.
layout=1
cache=${HOLDFAST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/holdfast}
dir=$cache/peers
log=$cache/get-peers.log

fail() { echo "get-peers.sh: $*" >&2; exit 1; }

mkdir -p "$cache" || fail "cannot create $cache, set HOLDFAST_CACHE to a writable folder"
exec 9> "$cache/peers.lock"
flock 9
if [ "$(cat "$dir/stamp" 2> /dev/null)" = "$layout" ]; then
    echo "$dir"
    exit 0
fi
for tool in apt-get dpkg flock; do
    command -v $tool > /dev/null || fail "$tool is missing: this script needs a Debian or Ubuntu"
done

new=$cache/peers.new
rm -rf "$new"
mkdir -p "$new/bin" "$new/debs"
: > "$log"

# The program as the system has it, or unpacked from packages with their libraries, which go before
# the system's.
take() { # program, package...
    local program=$1 found
    shift
    if found=$(command -v "$program"); then
        ln -s "$found" "$new/bin/$program"
        return
    fi
    echo "get-peers.sh: fetching $1" >&2
    (cd "$new/debs" && apt-get -q download "$@") >> "$log" 2>&1 \
        || fail "downloading $* failed, see $log; apt-get update may help"
    local deb
    for deb in "$new"/debs/*.deb; do
        dpkg -x "$deb" "$new/root" || fail "unpacking $deb failed"
        rm "$deb"
    done
    found=$(cd "$new" && find root -path "*/bin/$program" | head -1)
    [ -n "$found" ] || fail "no $program in $*"
    cat > "$new/bin/$program" <<RUN
#!/bin/sh
here=\$(dirname "\$(dirname "\$(readlink -f "\$0")")")
export LD_LIBRARY_PATH="\$here/root/usr/lib/$(uname -m)-linux-gnu\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}"
exec "\$here/$found" "\$@"
RUN
    chmod +x "$new/bin/$program"
}

take etcd etcd-server
# redis-server is a link to what is in redis-tools.
take redis-server redis-server redis-tools libatomic1 libjemalloc2 liblzf1 libssl3 libsystemd0
rmdir "$new/debs"
"$new/bin/etcd" --version >> "$log" 2>&1 || fail "etcd does not run, see $log"
"$new/bin/redis-server" --version >> "$log" 2>&1 || fail "redis-server does not run, see $log"
echo "$layout" > "$new/stamp"
rm -rf "$dir"
mv "$new" "$dir"
echo "$dir"
