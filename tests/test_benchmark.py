"""The benchmark at its smallest: every program that is present agrees with ours, and everything is written.

It runs in a process of its own, in float32 as when it is timed; no number here is a speed. A program's final mean and
variance are within 5.9 standard errors of ours in each coordinate, 1,024 chains: about one false alarm in 10^7 runs. A
variance that is wrong by a factor of 2 is 11 standard errors away (normal samples); the last tests here show that such
a program is named.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from scripts.benchmarking import report
from scripts.benchmarking.timing import LIMIT, Effort, deviation, measured_row
from scripts.benchmarking.workloads import WORKS, Landscape
from scripts.peers import PROGRAMS, c_program, torch_loop, torchsde_euler
from scripts.peers.program import Program

ROOT = Path(__file__).resolve().parents[1]
EVERYDAY = ("double_well", "sgd_regression")


def smoke_run(folder, works):
    """What a smoke run of these works wrote; its own exit status says whether all programs agree."""
    command = [sys.executable, "-m", "scripts.benchmarking", "--smoke", "--only", ",".join(works)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    done = subprocess.run(
        [*command, "--output", str(folder)], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() == (folder / "table.md").read_text().strip()
    return json.loads((folder / "benchmark.json").read_text())


def check_agreement(result):
    for row in result["rows"]:
        for name, entry in row["programs"].items():
            assert "absent" in entry or entry["rate"] > 0, (name, row["work"])
            assert not entry.get("num_diverged"), (name, row["work"])
            if entry.get("deviation") is not None:
                assert entry["deviation"] < LIMIT, (name, row["work"])


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmark")
    return folder, smoke_run(folder, EVERYDAY)


@pytest.mark.slow
def test_every_program_that_is_present_has_our_final_variance(written):
    _, result = written
    check_agreement(result)
    works = [WORKS[name]() for name in EVERYDAY]
    for row, work in zip(result["rows"], works, strict=True):
        assert set(row["programs"]) == {program.name for program in PROGRAMS if program.does(work)}
    for name in ("plain", "NumPy", "diffrax, UnsafeBrownianPath", "diffrax, VirtualBrownianTree"):
        assert result["rows"][0]["programs"][name]["deviation"] > 0, f"{name} was not compared"


@pytest.mark.slow
def test_every_program_agrees_on_the_other_works(tmp_path):
    others = [name for name in WORKS if name not in EVERYDAY]
    result = smoke_run(tmp_path, others)
    check_agreement(result)
    assert [row["work"] for row in result["rows"]] == others
    assert "costs" in (tmp_path / "table.md").read_text()


@pytest.mark.slow
def test_the_table_the_numbers_and_the_figure_are_written(written):
    folder, result = written
    table = (folder / "table.md").read_text()
    assert {"commit", "dirty", "date", "processor", "processor_flags", "num_cores"} <= set(result["machine"])
    assert {"python", "jax", "jaxlib", "numpy", "torch", "gcc"} <= set(result["machine"]["versions"])
    assert (folder / "figure.png").read_bytes().startswith(b"\x89PNG")
    for row in result["rows"]:
        for name, entry in row["programs"].items():
            assert name in table
            assert entry.get("absent", "") in table
    assert "no number here is a speed" in table
    assert "standard errors" in table


def test_an_absent_program_is_stated_with_what_would_help(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "torchsde", None)
    monkeypatch.setenv("PATH", "")
    assert "pip install" in torch_loop.absence()
    assert "pip install" in torchsde_euler.absence()
    assert "gcc" in c_program.absence()
    row = measured_row(Recorded(), 64, [recorded("here"), recorded("away", absence=torch_loop.absence)], EFFORT, print)
    assert row["programs"]["away"] == {"absent": torch_loop.absence()}
    assert torch_loop.absence() in report.table(RESULT | {"rows": [row]})


def test_a_program_of_another_law_is_named():
    programs = [
        recorded("ours"),
        recorded("same"),
        recorded("twice the variance", scale=2**0.5),
        recorded("no", fail=1),
    ]
    row = measured_row(Recorded(), 4_096, programs, EFFORT, print)
    assert row["programs"]["same"]["deviation"] < LIMIT < row["programs"]["twice the variance"]["deviation"]
    first, second = report.mistakes([row])
    assert first.startswith("twice the variance")
    assert "asked to fail" in second
    assert first in report.table(RESULT | {"rows": [row]})


def test_deviation_counts_standard_errors_of_the_variance_and_of_the_mean():
    """For n normal numbers: log variance has the standard error sqrt(2/n), the mean 1/sqrt(n)."""
    n = 40_000
    normals = np.random.default_rng(0).standard_normal(n)[:, None]
    normals = (normals - normals.mean()) / normals.std(ddof=1)  # exactly mean 0 and variance 1: no chance is left
    assert deviation(normals, normals * 1.05) == pytest.approx(np.log(1.05**2) / np.sqrt(2 * 2 / n), rel=0.02)
    assert deviation(normals, normals + 0.04) == pytest.approx(0.04 / np.sqrt(2 / n), rel=1e-3)
    assert deviation(normals, np.where(np.arange(n)[:, None] == 7, np.nan, normals)) == float("inf")


@pytest.mark.skipif(c_program.absence() is not None, reason=str(c_program.absence()))
def test_the_normals_of_the_c_program_are_threefry_and_box_muller():
    """Three steps without drift from 0, for a whole block of chains and the remainder, against NumPy in float64."""
    work = Landscape("normals", lambda x: 0.0 * x[0], (0.0,), step=1e-30, amplitude=1e15)
    normals = c_program.prepare(work, 80)(7, 3)[:, 0]
    even, odd = box_muller(*threefry((7, 0x9E3779B9), np.arange(80), 0))
    expected = even + odd + box_muller(*threefry((7, 0x9E3779B9), np.arange(80), 1))[0]
    np.testing.assert_allclose(normals, expected, atol=2e-5)  # float32 polynomials of about 1e-6


def threefry(key, first, second):
    """Salmon et al. (2011), threefry2x32 with 20 rounds."""
    keys = (*key, key[0] ^ key[1] ^ 0x1BD11BDA)
    x, y = (first + keys[0]) % 2**32, (second + keys[1]) % 2**32
    for group in range(5):
        for rotation in ((13, 15, 26, 6), (17, 29, 16, 24))[group % 2]:
            x = (x + y) % 2**32
            y = x ^ ((y << rotation | y >> (32 - rotation)) % 2**32)
        x, y = (x + keys[(group + 1) % 3]) % 2**32, (y + keys[(group + 2) % 3] + group + 1) % 2**32
    return x, y


def box_muller(first, second):
    """The cosine and the sine of an angle in the octant that the lowest three bits choose, times the radius."""
    radius = np.sqrt(-2 * np.log((first + 0.5) / 2**32))
    angle = ((second >> 3) + 0.5) / 2**29 * np.pi / 4
    pair = np.where(second & 1, [np.sin(angle), np.cos(angle)], [np.cos(angle), np.sin(angle)])
    return radius * pair * np.where([second & 2, second & 4], -1, 1)


EFFORT = Effort(num_repetitions=2, seconds=0.0)
RESULT = {
    "machine": {
        "processor": "a processor",
        "num_cores": 2,
        "platform": "cpu",
        "device": "cpu",
        "system": "a system",
        "versions": {},
        "commit": None,
        "dirty": None,
        "date": "today",
    },
    "roofline": None,
    "size": "full",
    "num_repetitions": 2,
    "interrupted": True,
    "first_run": None,
    "long_run": None,
}


class Recorded:
    """A work whose programs return normal numbers and simulate nothing."""

    name, kind = "recorded", "recorded"

    def seen(self, params):
        return params


def recorded(name, *, scale=1.0, fail=False, absence=lambda: None):
    def prepare(work, num_chains):
        if fail:
            raise RuntimeError("asked to fail")
        return lambda seed, num_steps: scale * np.random.default_rng(seed).standard_normal((num_chains, 1))

    return Program(name, prepare, ("recorded",), absence)
