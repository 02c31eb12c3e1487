"""Mistakes in every public function's arguments: each is answered by a sentence of the package's own that names the
argument, or has a right answer. `wrong_inputs/fuzz.py` does it, in a program of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent / "wrong_inputs"
TABLES = ["of_predictions", "of_measurements", "of_dynamics", "of_problems"]


def findings(*arguments):
    done = subprocess.run([sys.executable, HERE / "fuzz.py", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("table", TABLES)
def test_what_is_no_number_is_refused_by_name_before_any_compute(table):
    assert findings(table) == []


@pytest.mark.slow
@pytest.mark.parametrize("table", ["of_predictions", "of_measurements", "of_problems"])
def test_a_wrong_size_or_shape_is_refused_by_name_or_answered_rightly(table):
    assert findings(table, "--sizes") == []
