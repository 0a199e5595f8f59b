#!/usr/bin/env bash
# Runs on every node before Spark starts: a Python 3.11 environment with the locked packages of the ETL.
#
#   bootstrap.sh PREFIX REQUIREMENTS SHA256 [FILE NAME]...
#
# REQUIREMENTS and each FILE are s3:// addresses or paths; a FILE is delivered as PREFIX/NAME. PREFIX is made, and
# belongs to whoever runs this.
set -euo pipefail

fail() { echo "bootstrap: $*" >&2; exit 1; }

[ "$#" -ge 3 ] || fail "usage: bootstrap.sh PREFIX REQUIREMENTS SHA256 [FILE NAME]..."
prefix="$1" requirements="$2" sha256="$3"
shift 3

fetch() {
    case "$1" in
        s3://*) aws s3 cp --only-show-errors "$1" "$2" || fail "$1 cannot be copied: check the instance profile" ;;
        *) cp "$1" "$2" || fail "$1 cannot be copied" ;;
    esac
}

if ! mkdir -p "$prefix" 2>/dev/null; then
    sudo mkdir -p "$prefix"
    sudo chown "$(id -u):$(id -g)" "$prefix"
fi

python="$(command -v python3.11 || true)"
if [ -z "$python" ]; then
    sudo dnf install -y -q python3.11 || fail "no python3.11, and dnf has none: take release emr-7.13.0 or newer"
    python="$(command -v python3.11)"
fi

fetch "$requirements" "$prefix/requirements.lock"
echo "$sha256  $prefix/requirements.lock" | sha256sum --check --quiet --status ||
    fail "$requirements has another SHA-256 than $sha256: launch again"

"$python" -m venv --clear "$prefix/venv"
"$prefix/venv/bin/python" -m pip --disable-pip-version-check --quiet install --only-binary :all: \
    -r "$prefix/requirements.lock" || fail "the packages cannot be installed: does the subnet reach the package index?"

# Workers run as another user than this script.
mkdir -p "$prefix/numba"
chmod 1777 "$prefix/numba"
cat > "$prefix/environment" <<END
export PYSPARK_PYTHON=$prefix/venv/bin/python
export NUMBA_CACHE_DIR=$prefix/numba
END

while [ "$#" -ge 2 ]; do
    fetch "$1" "$prefix/$2"
    chmod 644 "$prefix/$2"
    shift 2
done
[ "$#" -eq 0 ] || fail "$1 has no name to be delivered under"
"$prefix/venv/bin/python" -c 'import boto3, healpy, pgpq, psycopg, pyarrow, sqlalchemy'
echo "bootstrap: $("$prefix/venv/bin/python" --version) with the locked packages in $prefix/venv"
