#!/bin/bash
# Fetches a real Asterisk 22 and sipp into a cache folder, without root and without touching the
# system: packages are downloaded by the machine's own apt from the mirror it is set up with, and
# unpacked. Running it again does nothing; two at once wait for each other.
#
#   get-asterisk.sh            prints the folder, which then holds
#       root/                  Asterisk, its libraries, English prompts
#       bin/asterisk           starts it with those libraries
#       bin/sipp               the system's sipp, or one that was unpacked the same way
#
# HOLDFAST_CACHE   cache folder           (default: $XDG_CACHE_HOME/holdfast or ~/.cache/holdfast)
# ASTERISK_SUITE   Debian suite to take it from (default: sid; forky has the same version)
set -euo pipefail

# Raised whenever what this script makes changes.
layout=1
suite=${ASTERISK_SUITE:-sid}
cache=${HOLDFAST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/holdfast}
dir=$cache/asterisk-22
stamp=$dir/stamp

fail() { echo "get-asterisk.sh: $*" >&2; exit 1; }
say() { echo "get-asterisk.sh: $*" >&2; }

# The mirror that this machine's own apt uses.
mirror() {
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' \
        'Label: Debian' | sort -u | head -1
}

# A private apt that knows nothing of the installed system, so that it downloads whole closures.
private_apt() { # folder suite mirror
    mkdir -p "$1"/{lists/partial,cache/archives/partial,etc/apt.conf.d,etc/preferences.d,etc/trusted.gpg.d}
    : > "$1/status"
    local key=/usr/share/keyrings/debian-archive-keyring.gpg
    [ -r $key ] || fail "$key is missing, install debian-archive-keyring"
    echo "deb [signed-by=$key] $3 $2 main" > "$1/etc/sources.list"
    cat > "$1/apt.conf" <<CONF
Dir::State "$1";
Dir::State::lists "$1/lists";
Dir::State::status "$1/status";
Dir::Cache "$1/cache";
Dir::Etc "$1/etc";
Dir::Etc::sourcelist "$1/etc/sources.list";
Dir::Etc::sourceparts "-";
Dir::Etc::parts "-";
Dir::Etc::trustedparts "$1/etc/trusted.gpg.d";
// A test machine's clock may be wrong; the signature is still checked.
Acquire::Check-Valid-Until "false";
Acquire::Languages "none";
Acquire::GzipIndexes "true";
Acquire::Retries "3";
APT::Install-Recommends "false";
APT::Sandbox::User "";
APT::Get::AllowUnauthenticated "false";
Debug::NoLocking "true";
CONF
}

# Downloads packages with all they need and unpacks them.
unpack() { # apt folder, target, package...
    local apt=$1 target=$2
    shift 2
    APT_CONFIG=$apt/apt.conf apt-get -q -y --download-only install "$@" >> "$log" 2>&1 \
        || fail "downloading $* failed, see $log"
    mkdir -p "$target"
    local deb
    for deb in "$apt"/cache/archives/*.deb; do
        dpkg -x "$deb" "$target" || fail "unpacking $deb failed"
    done
    rm -rf "$apt/cache/archives"
    mkdir -p "$apt/cache/archives/partial"
}

# A starter that runs a program with the libraries it was unpacked with.
starter() { # name, root, program
    local libs=$2/usr/lib/x86_64-linux-gnu
    cat > "$new/bin/$1" <<RUN
#!/bin/sh
here=\$(dirname "\$(dirname "\$(readlink -f "\$0")")")
libs=\$here/$libs
exec "\$libs/ld-linux-x86-64.so.2" --library-path "\$libs" --argv0 "$1" "\$here/$3" "\$@"
RUN
    chmod +x "$new/bin/$1"
}

mkdir -p "$cache" || fail "cannot create $cache, set HOLDFAST_CACHE to a writable folder"
exec 9> "$cache/asterisk-22.lock"
flock 9
if [ "$(cat "$stamp" 2> /dev/null)" = "$layout $suite" ]; then
    echo "$dir"
    exit 0
fi
[ "$(uname -m)" = x86_64 ] || fail "only x86_64 is supported"
for tool in apt-get dpkg flock; do
    command -v $tool > /dev/null || fail "$tool is missing: this script needs a Debian or Ubuntu"
done

new=$cache/asterisk-22.new
rm -rf "$new"
mkdir -p "$new/bin" "$new/apt"
log=$cache/get-asterisk.log
: > "$log"
mirror=$(mirror)
[ -n "$mirror" ] || mirror=http://deb.debian.org/debian/

say "fetching Asterisk 22 from $mirror $suite, about 110 MB"
private_apt "$new/apt" "$suite" "$mirror"
APT_CONFIG=$new/apt/apt.conf apt-get -q update >> "$log" 2>&1 \
    || fail "apt-get update from $mirror $suite failed, see $log"
version=$(APT_CONFIG=$new/apt/apt.conf apt-cache show asterisk 2>> "$log" \
    | sed -n 's/^Version: //p' | head -1)
case $version in
    1:22.*) ;;
    *) fail "$suite of $mirror has Asterisk '$version' and not 22, set ASTERISK_SUITE" ;;
esac
unpack "$new/apt" "$new/root" asterisk asterisk-modules asterisk-core-sounds-en-wav
ln -sfn en_US_f_Allison "$new/root/usr/share/asterisk/sounds/en"
starter asterisk root root/usr/sbin/asterisk

if command -v sipp > /dev/null; then
    ln -s "$(command -v sipp)" "$new/bin/sipp"
else
    say "fetching sipp"
    unpack "$new/apt" "$new/sipp" sip-tester
    starter sipp sipp sipp/usr/bin/sipp
fi
rm -rf "$new/apt"

"$new/bin/asterisk" -V >> "$log" 2>&1 || fail "the unpacked asterisk does not run, see $log"
"$new/bin/sipp" -v >> "$log" 2>&1 || [ $? -eq 99 ] || fail "the unpacked sipp does not run, see $log"
echo "$layout $suite" > "$new/stamp"
rm -rf "$dir"
mv "$new" "$dir"
say "$("$dir/bin/asterisk" -V) is in $dir"
echo "$dir"
