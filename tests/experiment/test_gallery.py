"""The gallery page follows from the verdicts."""

from pathlib import Path

import pytest

from sgdsde.experiment import ExperimentError
from sgdsde.experiment.gallery import gallery_text, readme_text, stale_pages, write_gallery
from sgdsde.experiment.runner import publish_result

ROOT = Path(__file__).parents[2]


def test_the_page_shows_claim_source_figure_command_and_verdicts(compute, project):
    experiments, folder = project / "experiments", project / "results"
    assert stale_pages(experiments, folder)
    publish_result(compute(is_shifted=True), folder / "toy")
    page = write_gallery(experiments, folder)
    text = page.read_text()
    for expected in (
        "The mean of normal draws is the mean they were drawn with.",
        "**Source.** The mean \\<x>, by definition.\n",
        "**What to see.** The mean at scale 2 is 1 of 2, within 10 %\n",
        "**What it does not say.** Two scales \\<3, one seed.\n",
        "](toy/figure.png)",
        "`sgdsde reproduce toy`",
        "0 of 2 **FAILED**",
        "| mean at scale 1 | ",
        "| **fail** | definition |",
    ):
        assert expected in text
    assert "Nothing is simulated" not in text, "the first paragraph only"
    assert text.index("| mean at scale 2 | ") < text.index("<summary>The other 1 checks</summary>")
    assert not stale_pages(experiments, folder)
    publish_result(compute(), folder / "toy")
    assert stale_pages(experiments, folder)
    write_gallery(experiments, folder)
    assert "2 of 2 |" in page.read_text()
    assert not stale_pages(experiments, folder)


def test_the_readme_is_filled_between_its_marks(compute, project):
    experiments, folder, readme = project / "experiments", project / "results", project / "README.md"
    publish_result(compute(num_draws=100_000), folder / "toy")
    before = "Before.\n<!-- see toy -->\nold\n<!-- end -->\nMiddle.\n<!-- results -->\n<!-- end -->\nAfter.\n"
    readme.write_text(before)
    assert readme in stale_pages(experiments, folder)
    write_gallery(experiments, folder)
    assert not stale_pages(experiments, folder)
    text = readme.read_text()
    seen = "The mean at scale 2 is 1 of 1, within 10 %"
    assert f"Before.\n<!-- see toy -->\n{seen}\n<!-- end -->\nMiddle." in text
    assert f"| [toy](results/toy/figure.png) | {seen} | 2 of 2 | " in text
    assert "- **toy**: Two scales \\<3, one seed.\n" in text
    assert text.endswith("<!-- end -->\nAfter.\n")
    with pytest.raises(ExperimentError, match=r"no result for `<!-- see tou -->`\. Did you mean `toy`"):
        readme_text(before.replace("see toy", "see tou"), experiments, folder)


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
    assert not stale_pages(ROOT / "experiments", ROOT / "results"), "run `sgdsde gallery`"
