"""The gallery page, `results/README.md`: for each committed result its claim, figure, command and verdicts."""

from pathlib import Path
from typing import Any

from sgdsde.experiment import report, results
from sgdsde.experiment.files import write_text
from sgdsde.experiment.folders import ExperimentError, description, first_paragraph, shown

HEAD = """# Results

Each folder here was made by `sgdsde reproduce NAME`; this page was made from their verdicts by `sgdsde gallery`.
Every number below is a measurement beside a prediction: "agree" passes within the tolerance and 5.9 standard errors,
and only if 5.9 standard errors are smaller than the tolerance; the others need 5.9 standard errors.
"""


def gallery_text(experiments: Path, folder: Path) -> str:
    """The page for the result folders under `folder`.

    Raises:
        ExperimentError: a result is damaged, or has no experiment file.
    """
    names = sorted(
        file.parent.name for file in folder.glob("*/provenance.json") if not file.parent.name.startswith(".")
    )
    overview = ["| experiment | checks passed | time | command |", "| --- | --- | --- | --- |"]
    sections = []
    for name in names:
        provenance = results.verified(folder / name)
        verdict = results.read_verdict(folder / name)
        file = experiments / f"{name}.py"
        if provenance["status"] != "done" or verdict is None:
            raise ExperimentError(f"{shown(folder / name)}: status {provenance['status']}; reproduce it, or remove it.")
        if not file.is_file():
            raise ExperimentError(f"{shown(folder / name)} has no experiment file {shown(file)}; remove the result.")
        num_passed = sum(check["verdict"] == "pass" for check in verdict["checks"])
        failed = "" if verdict["passed"] else " **FAILED**"
        overview.append(
            f"| [{name}](#{name}) | {num_passed} of {len(verdict['checks'])}{failed} "
            f"| {report.wall_time(provenance)} | `sgdsde reproduce {name}` |"
        )
        sections.append(_section(name, experiments.name, description(file), verdict, provenance))
    if not names:
        overview = ["No results yet: `sgdsde reproduce --all`."]
    return "\n".join([HEAD, *overview, "", *sections])


def write_gallery(experiments: Path, folder: Path) -> Path:
    """Write the page, unless it already says so."""
    text, page = gallery_text(experiments, folder), folder / "README.md"
    folder.mkdir(parents=True, exist_ok=True)
    if _read(page) != text:
        write_text(page, text)
    return page


def is_stale(experiments: Path, folder: Path) -> bool:
    """Whether the page differs from what the verdicts say."""
    return _read(folder / "README.md") != gallery_text(experiments, folder)


def _read(page: Path) -> str | None:
    return page.read_text(encoding="utf-8") if page.is_file() else None


def _commit(record: dict[str, Any]) -> str:
    return (record["commit"] or "none")[:10] + (" with uncommitted changes" if record["dirty"] else "")


def _section(name: str, folder: str, text: str, verdict: dict[str, Any], provenance: dict[str, Any]) -> str:
    commit = _commit(provenance) + (f", judged at {_commit(provenance['judged'])}" if "judged" in provenance else "")
    lines = [
        f"## {name}",
        "",
        first_paragraph(text),
        "",
        f"![{name}]({name}/figure.png)",
        "",
        f"`sgdsde reproduce {name}` takes {report.wall_time(provenance)} ({provenance['platform']}, "
        f"{provenance['num_cores']} cores, {provenance['dtype']}, seed {provenance['seed']}, commit {commit}). "
        f"[Experiment](../{folder}/{name}.py) · [figure]({name}/figure.pdf) · [numbers]({name}/summary.csv) · "
        f"[provenance]({name}/provenance.json)",
        "",
        f"| {' | '.join(report.COLUMNS)} | source |",
        f"| {' | '.join('---' for _ in report.COLUMNS)} | --- |",
    ]
    for check in verdict["checks"]:
        cells = [*report.row_of(check), check["source"]]
        cells[5] = cells[5] if cells[5] == "pass" else f"**{cells[5]}**"
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join([*lines, ""])
