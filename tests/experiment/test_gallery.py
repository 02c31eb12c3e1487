"""The gallery page follows from the verdicts."""

from pathlib import Path

import pytest

from sgdsde.experiment import ExperimentError, gallery
from sgdsde.experiment.gallery import gallery_text, is_stale, write_gallery
from sgdsde.experiment.runner import publish_result

ROOT = Path(__file__).parents[2]


def test_the_page_shows_claim_source_figure_command_and_verdicts(compute, project, monkeypatch):
    experiments, folder = project / "experiments", project / "results"
    assert is_stale(experiments, folder)
    publish_result(compute(is_shifted=True), folder / "toy")
    page = write_gallery(experiments, folder)
    text = page.read_text()
    for expected in (
        "The mean of normal draws is the mean they were drawn with.",
        "**Source.** The mean \\<x>, by definition.\n",
        "**What to see.** Both means.\n",
        "![toy](toy/figure.png)",
        "`sgdsde reproduce toy`",
        "0 of 2 **FAILED**",
        "| mean at scale 1 | ",
        "| **fail** | definition |",
    ):
        assert expected in text
    assert "Nothing is simulated" not in text, "the first paragraph only"
    assert "<details>" not in text
    monkeypatch.setattr(gallery, "HEADLINES", 1)
    assert "<summary>All 2 checks</summary>" in gallery_text(experiments, folder)
    monkeypatch.undo()
    assert not is_stale(experiments, folder)
    publish_result(compute(), folder / "toy")
    assert is_stale(experiments, folder)
    write_gallery(experiments, folder)
    assert "2 of 2 |" in page.read_text()
    assert not is_stale(experiments, folder)


def test_a_damaged_result_and_an_orphan_are_refused(compute, project):
    publish_result(compute(), project / "results" / "toy")
    (project / "experiments" / "toy.py").rename(project / "experiments" / "other.py")
    with pytest.raises(ExperimentError, match="has no experiment file"):
        gallery_text(project / "experiments", project / "results")
    (project / "results" / "toy" / "verdict.json").write_text("{}")
    with pytest.raises(ExperimentError, match=r"verdict.json is damaged"):
        gallery_text(project / "experiments", project / "results")


@pytest.mark.skipif(not (ROOT / "results").is_dir(), reason="no results are committed yet")
def test_the_committed_page_is_up_to_date():
    assert not is_stale(ROOT / "experiments", ROOT / "results"), "run `sgdsde gallery`"
