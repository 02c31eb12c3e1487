"""Every experiment at smoke size in one process, through the runner; and the committed results."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from sgdsde.cli import main

ROOT = Path(__file__).resolve().parents[1]
EXPERIMENTS = sorted((ROOT / "experiments").glob("*.py"))


@pytest.fixture(autouse=True)
def ordinary_promotion():
    """An experiment is run as a user runs it: JAX's own rules of promotion."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda file: file.stem)
def test_it_runs_at_smoke_size_and_is_not_judged(file, tmp_path, capsys):
    assert main(["run", str(file), "--smoke", "--output", str(tmp_path)]) == 0
    (folder,) = (tmp_path / file.stem).iterdir()
    verdict = json.loads((folder / "verdict.json").read_text())
    assert verdict["passed"] is None
    assert len(verdict["checks"]) >= 8
    assert (folder / "figure.png").stat().st_size > 10_000
    assert "not judged" in capsys.readouterr().out


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda file: file.stem)
def test_its_docstring_says_source_command_and_the_number_to_expect(file):
    text = file.read_text().split('"""')[1]
    for word in ("Source:", f"sgdsde reproduce {file.stem}", "minute", "One should see"):
        assert word in text


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda file: file.stem)
def test_the_committed_result_passed_and_came_from_a_clean_tree(file):
    folder = ROOT / "results" / file.stem
    verdict = json.loads((folder / "verdict.json").read_text())
    provenance = json.loads((folder / "provenance.json").read_text())
    assert verdict["passed"] is True
    assert verdict["smoke"] is False
    assert provenance["dirty"] is False
    assert all(np.isfinite(float(check["measured"])) for check in verdict["checks"])
    assert (folder / "data.nc").stat().st_size < 1_000_000
