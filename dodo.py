"""This repository, checked by itself: the objects of examples/ on the kernels of bpfcompat.toml."""

import os
from importlib import import_module
from pathlib import Path

from bpfcompat.rules import bpf_matrix

# One more than cores: guests that hang, slow peers and killed processes are mostly waited for.
WORKERS = (os.cpu_count() or 1) + 1


def _rules(module, step):
    """What only a task of ours needs: a null run does not import it."""
    getattr(import_module(f"bpfcompat.rules.{module}"), step)(Path())


def task_bpf():
    """Every task of bpfcompat.toml: kernel:*, object:*, probe:*@*, publish, report, matrix, verify, serve."""
    yield from bpf_matrix()


def task_attach_page():
    """Write the tables of docs/validator.md: from the validator's code, and from the reports that `matrix` left."""
    return {"actions": [(_rules, ["attachpage", "write"])], "verbosity": 2}


def task_causes_page():
    """Write the tables and examples of docs/causes.md, from the table of causes and the reports that the tests keep."""
    return {"actions": [(_rules, ["causespage", "write"])], "verbosity": 2}


def task_goldens():
    """Ask kernels for the reports that the tests keep of each cause, score by them, and write docs/accuracy.md."""
    return {"actions": ["python -m bench.labels --capture --causes --examples --page"], "verbosity": 2}


def task_test():
    """Lint, types and tests; the guest tests boot real kernels."""
    return {
        "actions": [
            "ruff check .",
            "ruff format --check .",
            "mypy",
            f"pytest -n {WORKERS} --dist loadfile --no-loadscope-reorder",
        ],
        "verbosity": 2,
    }


def task_bench():
    """Measure: cold and null matrix, one pair, null runs of large plans."""
    return {"actions": ["python -m bench"], "verbosity": 2}


def task_corpora():
    """Fetch real objects of Debian, ask us and Debian's bpftool about them, write docs/agreement.md."""
    return {"actions": ["python -m bench.corpora --fetch --compare --page"], "verbosity": 2}


def task_since():
    """Make bpfcompat/data/since.json again, from headers of Debian's packages, kernels of the catalogue and a seed."""
    return {"actions": [(_rules, ["sincemaking", "write"])], "verbosity": 2}


def task_since_lock():
    """Pick the newest header packages of each release for `since`, and write bpfcompat/data/since.lock."""
    return {"actions": [(_rules, ["sincemaking", "lock"])], "verbosity": 2}


def task_fuzz():
    """Fuzz all readers of bytes from outside, a minute each; what is found lies in .bpfcompat/fuzz."""
    return {"actions": ["python -m tests.fuzz --seconds 60"], "verbosity": 2}
