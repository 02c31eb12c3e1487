"""scripts/seeds: how many verdicts are expected to fail on fresh seeds."""

import importlib.util
import math
from importlib.machinery import SourceFileLoader
from pathlib import Path

import numpy as np
import pytest

from sgdsde import Check

FILE = Path(__file__).resolve().parents[1] / "scripts" / "seeds"
loader = SourceFileLoader("seeds", str(FILE))
seeds = importlib.util.module_from_spec(importlib.util.spec_from_loader("seeds", loader))
loader.exec_module(seeds)


@pytest.mark.parametrize("expect", ["agree", "differ", "below", "above"])
@pytest.mark.parametrize("centre", [1.0, 1.09, 0.35, 1.65])
def test_the_chance_of_failing_is_that_of_normal_numbers(expect, centre):
    error = 0.1 / 5.95
    numbers = centre + error * np.random.default_rng(3).standard_normal(300)
    made = [Check("x", number, 1.0, error, 0.1, expect, "source") for number in numbers]
    failed = np.mean([not check.passed for check in made])
    expected = seeds.chance_of_failing(made[0].as_dict(), centre)
    assert abs(failed - expected) <= 5.9 * math.sqrt(max(expected * (1 - expected), 1e-4) / len(made))


def test_what_is_certain():
    exact = Check("x", 1.0, 1.0, 0.0, 0.1, "agree", "source").as_dict()
    assert seeds.chance_of_failing(exact, 1.0) == 0
    weak = Check("x", 1.0, 1.0, 0.1, 0.1, "agree", "source").as_dict()
    assert seeds.chance_of_failing(weak, 1.0) == 1, "underpowered at any seed"
    rows = [[exact], [exact | {"verdict": "fail"}]]
    assert seeds.held(rows) == (1, 1.0, ["x: 1 of 2 failed, 1 expected"])


def test_the_number_allowed_is_a_poisson_quantile():
    assert [seeds.allowed(expected) for expected in (0.0, 0.01, 1.0, 10.0)] == [0, 1, 5, 21]
