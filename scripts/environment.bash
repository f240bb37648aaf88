# Sourced by the other scripts: makes the virtual environment they run in.
#
#   HEA_JAX_VENV         where it is (default: .venv in the repository)
#   HEA_JAX_PYTHON       the interpreter to make it with (default: the first Python >= 3.11 found)
#   HEA_JAX_CONSTRAINTS  the file of pinned versions (default: constraints.txt)

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=${HEA_JAX_VENV:-$repository/.venv}
constraints=${HEA_JAX_CONSTRAINTS:-$repository/constraints.txt}

usable() {  # a Python >= 3.11 that can make environments
    "$1" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    local candidate
    for candidate in ${HEA_JAX_PYTHON:-python3.11 python3.12 python3.13 python3 python}; do
        if usable "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    echo "no Python >= 3.11 with the venv module was found: install one, or name it in HEA_JAX_PYTHON" >&2
    return 1
}

make_environment() {  # make_environment EXTRAS: install the package with these extras, e.g. "[test]", if it is not yet
    local extras=$1 python mark state
    if [ ! -x "$venv/bin/python" ]; then
        python=$(find_python) || return 1
        echo "making an environment in $venv with $("$python" --version)"
        "$python" -m venv "$venv" || return 1
    fi
    mark=$venv/installed-${extras//[^a-z]/}
    state=$(cat "$repository/pyproject.toml" "$constraints" | "$venv/bin/python" -c \
        'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())') || return 1
    if [ "$(cat "$mark" 2>/dev/null)" != "$state" ]; then
        echo "installing hea_jax$extras (a few minutes the first time)"
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
            --constraint "$constraints" --editable "$repository$extras" || return 1
        echo "$state" > "$mark"
    fi
}
