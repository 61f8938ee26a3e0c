#!/bin/sh
# Runs the tests on every supported Python that is found; of the others it resolves the wheels, so
# that a pinned package without one is noticed. Each Python has a .venv-X.Y of its own.
set -eu
cd "$(dirname "$0")/.."
for version in 3.11 3.12 3.13 3.14; do
    if "python$version" -c 'import venv' 2>/dev/null; then
        echo "== Python $version: tests"
        "python$version" -m venv ".venv-$version"
        ".venv-$version/bin/python" -m pip install -qq --disable-pip-version-check -e '.[dev]'
        ".venv-$version/bin/python" -m pytest
    else
        echo "== Python $version: not found, resolving its wheels"
        .venv/bin/python -m pip install -qq --disable-pip-version-check --dry-run --ignore-installed \
            --target .venv/none --python-version "$version" --only-binary=:all: \
            $(.venv/bin/python -c 'import tomllib
p = tomllib.load(open("pyproject.toml", "rb"))["project"]
print(*p["dependencies"], *p["optional-dependencies"]["dev"])')
    fi
done
