"""README.md says what is so: its Python prints what it says, its table of speeds is the benchmark's."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.slow
def test_the_code_prints_what_the_page_says(ordinary_settings, capsys, tmp_path, monkeypatch):
    """To the last digit: comments behind the first block, a block of text behind the second."""
    monkeypatch.chdir(tmp_path)
    first, second = BLOCKS
    names = {"__name__": "readme"}
    exec(compile(first, "README.md", "exec"), names)
    printed = re.findall(r"\d\.\d{4} \+- \d\.\d{4}", capsys.readouterr().out)
    assert printed == re.findall(r"^# (\d\.\d{4} \+- \d\.\d{4})", first, re.MULTILINE)
    exec(compile(second, "README.md", "exec"), names)
    said = re.search(r"```text\n(dynamics.*?)```", README, re.DOTALL)[1]
    lines = lambda text: [line.split() for line in text.strip().splitlines()]
    assert lines(capsys.readouterr().out) == lines(said)
    assert (tmp_path / "comparison.png").stat().st_size > 10_000


WORKS = {
    "double well": "double_well",
    "Mueller-Brown": "mueller_brown",
    "Rosenbrock": "rosenbrock",
    "Levy Ornstein-Uhlenbeck": "levy_ornstein_uhlenbeck",
    "a cosine": "readers_landscape",
    "SGD, regression": "sgd_regression",
}


def test_the_speeds_are_those_of_the_committed_benchmark():
    """Millions of chain-steps a second, ours and theirs, and the median ratio, as the benchmark's own page has them."""
    page = (ROOT / "results/benchmark/table.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if "|" in line]
    at_65536 = {(row[0], row[2]): row[3:5] for row in rows if len(row) == 5 and row[1] == "65,536"}
    several = {row[0]: row[5] for row in rows if len(row) == 8}
    table = README.split("## How fast")[1].split("\n\n")[2]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    assert len(lines) == len(WORKS)
    for label, here, rival, times in lines:
        (work,) = [work for start, work in WORKS.items() if label.startswith(start)]
        if work == "double_well":
            assert here == f"{several['ours']} (PyTorch {several['PyTorch by hand'].split()[0]}, C {c_rate(several)})"
            assert several["plain"] == f"{rival} ({times}x)"
        else:
            other = "scan, choice, optax" if work == "sgd_regression" else "plain"
            rate, ratio = at_65536[work, other]
            assert float(here) == round(float(at_65536[work, "ours"][0]))
            assert (float(rival.split()[0]), f"{times}x") == (round(float(rate)), ratio), label


def c_rate(several):
    return several["C, AVX-512, all cores"].split()[0]
