#!/usr/bin/env bash
# Bring a machine to where `make demo` and `make test` run: system packages, .venv, locked Python packages.
# It uses what is there, installs only what is missing, and takes a moment when nothing is.
#
#   ./setup.sh            set up
#   ./setup.sh --tests    and what only tests need: Chromium, and pg_sphere where apt has it
#   ./setup.sh --check    only say what is missing
set -euo pipefail
cd "$(dirname "$0")"

# Tests put fake trees here.
sysroot="${STRONGLENS_SYSROOT:-}"
venv="${STRONGLENS_VENV:-.venv}"

want_tests=no
check_only=no
for argument in "$@"; do
    case "$argument" in
        --tests) want_tests=yes ;;
        --check) check_only=yes ;;
        *) echo "setup: unknown argument '$argument' (known: --tests, --check)" >&2; exit 2 ;;
    esac
done

fail() { echo "setup: $*" >&2; exit 1; }

is_python() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; }
can_make_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

find_python() {  # one that can make an environment, else one that could
    local candidate lacking=""
    for candidate in "${PYTHON:-}" python3 python3.12 python3.11; do
        if [ -z "$candidate" ] || ! command -v "$candidate" >/dev/null || ! is_python "$candidate"; then continue; fi
        if can_make_venv "$candidate"; then echo "$candidate"; return; fi
        lacking="${lacking:-$candidate}"
    done
    echo "$lacking"
}

server_with() {  # the major version of a PostgreSQL, 15 or newer, that has some extensions
    local folder version extension share
    for folder in "$sysroot"/usr/lib/postgresql/*/bin "$(pg_config --bindir 2>/dev/null || true)"; do
        if [ ! -x "$folder/initdb" ] || [ ! -x "$folder/pg_config" ]; then continue; fi
        version="$("$folder/pg_config" --version | grep -oE '[0-9]+' | head -n 1)"
        if [ "$version" -lt 15 ]; then continue; fi
        share="$("$folder/pg_config" --sharedir)"
        for extension in "$@"; do
            if [ ! -e "$share/extension/$extension.control" ]; then continue 2; fi
        done
        echo "$version"
        return 0
    done
    return 1
}
has_q3c() { server_with q3c >/dev/null; }

has_java() {
    local major
    major="$("${JAVA_HOME:+$JAVA_HOME/bin/}java" -version 2>&1 | sed -nE 's/.* version "([0-9]+).*/\1/p' | head -n 1)" || true
    [ "${major:-0}" -ge 17 ]
}

has_browser() {
    local program
    for program in chromium chromium-browser google-chrome google-chrome-stable; do
        if command -v "$program" >/dev/null; then return 0; fi
    done
    return 1
}

distribution() { (. "$sysroot/etc/os-release" 2>/dev/null && echo "${ID:-unknown} ${VERSION_ID:-}") || echo unknown; }

newest_q3c() {  # Debian 12 has 15; elsewhere the newest that apt offers, 15 or later
    if [ "$(distribution)" = "debian 12" ]; then echo postgresql-15-q3c; return; fi
    { apt-cache search --names-only '^postgresql-[0-9]+-q3c$' 2>/dev/null || true; } | cut -d' ' -f1 |
        awk -F- '$2 >= 15' | sort -V | tail -n 1
}

missing_pgsphere() {  # its package beside Q3C's, where there is one and it is not installed
    local q3c package
    if server_with q3c pg_sphere >/dev/null; then return; fi
    q3c="$(server_with q3c)" && q3c="postgresql-$q3c-q3c" || q3c="$(newest_q3c)"
    package="${q3c%-q3c}-pgsphere"
    if apt-cache show "$package" >/dev/null 2>&1 || [ "$(distribution) $package" = "debian 12 postgresql-15-pgsphere" ]
    then
        echo "$package"
    fi
}

newest_java() {
    if apt-cache show openjdk-17-jre-headless >/dev/null 2>&1 || [ "$(distribution)" = "debian 12" ]; then
        echo openjdk-17-jre-headless
    else
        echo default-jre-headless
    fi
}

missing=()
note_missing() {
    missing=()
    can_make_venv "$python" || missing+=(python3-venv)
    has_q3c || missing+=("$(newest_q3c)")
    has_java || missing+=("$(newest_java)")
    if [ "$want_tests" = yes ]; then
        has_browser || missing+=(chromium)
        mapfile -t -O "${#missing[@]}" missing < <(missing_pgsphere)
    fi
    # An empty name: apt knows no such package (yet).
    for index in "${!missing[@]}"; do missing[index]="${missing[index]:-postgresql-NN-q3c}"; done
}

as_root=()
find_root() {
    if [ "$(id -u)" -eq 0 ]; then return 0; fi
    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then as_root=(sudo -n); return 0; fi
    return 1
}

# The PostgreSQL package would make and start a cluster of its own. Two files stop it while it is being installed;
# those that we made go again, whatever happens.
cluster_rule="$sysroot/etc/postgresql-common/createcluster.d/stronglens.conf"
service_rule="$sysroot/usr/sbin/policy-rc.d"
made=()
remove_rules() { if [ "${#made[@]}" -gt 0 ]; then "${as_root[@]}" rm -f "${made[@]}"; made=(); fi; }
trap remove_rules EXIT
trap 'exit 130' INT TERM

write_rules() {
    "${as_root[@]}" mkdir -p "$(dirname "$cluster_rule")" "$(dirname "$service_rule")"
    made+=("$cluster_rule")
    echo "create_main_cluster = false" | "${as_root[@]}" tee "$cluster_rule" >/dev/null
    if [ ! -e "$service_rule" ]; then
        made+=("$service_rule")
        printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$service_rule" >/dev/null
        "${as_root[@]}" chmod 755 "$service_rule"
    fi
}

apt() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -qq "$@"; }

install_system() {
    local command="apt-get install --no-install-recommends ${missing[*]}"
    if ! command -v apt-get >/dev/null; then
        fail "missing: ${missing[*]} (Debian's names), and this system ($(distribution)) has no apt: install PostgreSQL" \
            "15 or newer with Q3C, a Java 17 runtime and Python's venv module, then run this again"
    fi
    if [ "$check_only" = yes ] || ! find_root; then
        fail "missing system packages; as root run: apt-get update && $command"
    fi
    echo "setup: updating the package lists" >&2
    apt update
    note_missing  # now with the names that apt knows
    case " ${missing[*]} " in *" postgresql-NN-q3c "*)
        fail "apt offers no postgresql-NN-q3c for PostgreSQL 15 or newer on $(distribution): install Q3C from source," \
            "or set STRONGLENS_DATABASE_URL to a server that has it" ;;
    esac
    echo "setup: installing ${missing[*]}" >&2
    write_rules
    apt install -y --no-install-recommends "${missing[@]}" >/dev/null
    remove_rules
    note_missing
    if [ "${#missing[@]}" -gt 0 ]; then fail "still missing after installation: ${missing[*]}"; fi
}

install_python() {
    local stamp="$venv/.installed" state pip
    state="$(cat requirements.lock pyproject.toml setup.sh | sha256sum) $PWD"
    if [ -e "$stamp" ] && [ "$(cat "$stamp")" = "$state" ] && [ -x "$venv/bin/stronglens" ]; then return; fi
    if [ "$check_only" = yes ]; then fail "the Python packages in $venv are missing or old; run ./setup.sh"; fi
    if ! is_python "$venv/bin/python"; then "$python" -m venv --clear "$venv"; fi
    rm -f "$stamp"
    echo "setup: installing Python packages into $venv (some minutes the first time)" >&2
    pip=("$venv/bin/python" -m pip --disable-pip-version-check --quiet install)
    grep -v '# no-deps' requirements.lock > "$venv/with-dependencies.txt"
    grep '# no-deps' requirements.lock > "$venv/without-dependencies.txt"
    "${pip[@]}" -r "$venv/with-dependencies.txt"
    "${pip[@]}" --no-deps -r "$venv/without-dependencies.txt"
    "${pip[@]}" --no-deps --no-build-isolation -e .
    echo "$state" > "$stamp"
}

python="$(find_python)"
[ -n "$python" ] || fail "Python 3.11 or 3.12 is not installed (or not on PATH; PYTHON=/path/to/python names one)"
note_missing
if [ "${#missing[@]}" -gt 0 ]; then install_system; fi
install_python
