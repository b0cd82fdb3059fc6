# Commands of developers: https://just.systems. `just` alone lists them.

set positional-arguments

bin := justfile_directory() / ".venv/bin"

_list:
    @{{ just_executable() }} --list --unsorted

# make the environment, with what the tests and `just lint` need
setup:
    python3 -m venv .venv && .venv/bin/pip install -e ".[dev]"

# run tests: all of them, or those of a file, a folder or pytest's options, such as `just test tests/unit -m "not clock"`
test *arguments:
    {{ bin }}/python -m pytest "$@"

# check style, types and the stub of the C extension, as `.ci/run --stage lint` does; changes nothing
lint:
    {{ bin }}/ruff check .
    {{ bin }}/ruff format --check .
    git ls-files -z '*.c' '*.h' | xargs -0 {{ bin }}/clang-format --dry-run -Werror
    {{ bin }}/mypy --strict
    cd .venv && {{ bin }}/stubtest gilscope._core # elsewhere: the folder of the sources has no extension

# format Python and C
format:
    {{ bin }}/ruff format .
    git ls-files -z '*.c' '*.h' | xargs -0 {{ bin }}/clang-format -i
