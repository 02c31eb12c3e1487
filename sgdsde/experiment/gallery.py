"""The gallery page, `results/README.md`: for each committed result its claim, source, figure, numbers and verdict."""

import re
from pathlib import Path
from typing import Any

from sgdsde.experiment import report, results
from sgdsde.experiment.files import write_text
from sgdsde.experiment.folders import ExperimentError, description, first_paragraph, shown

HEAD = """# Results: claims of the field, checked

Each row is a claim, where it comes from, and what a simulation beside the theory said. Every verdict is a list of
measurements, each beside a predicted number: "agree" passes within the tolerance and 5.9 standard errors, and only if
5.9 standard errors are smaller than the tolerance (otherwise "underpowered", which fails); "differ", "below" and
"above" need 5.9 standard errors. Each folder here was made by `sgdsde reproduce NAME`; this page was made from their
verdicts by `sgdsde gallery`.
"""
HEADLINES = 6
"""how many checks, the first of an experiment's, are in sight; all of them unfold"""


def gallery_text(experiments: Path, folder: Path) -> str:
    """The page for the result folders under `folder`.

    Raises:
        ExperimentError: a result is damaged, or has no experiment file.
    """
    names = sorted(
        file.parent.name for file in folder.glob("*/provenance.json") if not file.parent.name.startswith(".")
    )
    overview = ["| figure | claim | source | checks passed | time |", "| --- | --- | --- | --- | --- |"]
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
        text, passed = description(file), f"{num_passed} of {len(verdict['checks'])}{failed}"
        cells = (f"[{name}](#{name})", _sentence(first_paragraph(text)), _part(text, "Source"), passed)
        overview.append(_row([*cells, report.wall_time(provenance)]))
        sections.append(_section(name, experiments.name, text, verdict, provenance, passed))
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


def _part(text: str, name: str) -> str:
    """What an experiment's docstring says after "Source:" or "One should see:", up to the next such word, as one line;
    empty where it says nothing."""
    found = re.search(rf"\b{name}:(.*?)(?=\bCommand:|\bOne should see:|\n\s*\n|\Z)", text, re.DOTALL)
    return _sentence(" ".join(found[1].split())) if found else ""


def _sentence(words: str) -> str:
    """Words of a docstring as Markdown: < begins no tag."""
    return (words[:1].upper() + words[1:]).replace("<", r"\<")


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _table(checks: list[dict[str, Any]]) -> list[str]:
    """Checks as the lines of a table."""
    lines = [_row([*report.COLUMNS, "source"]), _row(["---"] * (len(report.COLUMNS) + 1))]
    for check in checks:
        cells = [*report.row_of(check), check["source"]]
        cells[5] = cells[5] if cells[5] == "pass" else f"**{cells[5]}**"
        lines.append(_row(cells))
    return lines


def _section(
    name: str, folder: str, text: str, verdict: dict[str, Any], provenance: dict[str, Any], passed: str
) -> str:
    commit = _commit(provenance) + (f", judged at {_commit(provenance['judged'])}" if "judged" in provenance else "")
    checks, expected = verdict["checks"], _part(text, "One should see")
    lines = [f"## {name}", "", _sentence(first_paragraph(text)), "", f"**Source.** {_part(text, 'Source')}", ""]
    lines += [f"![{name}]({name}/figure.png)", ""]
    if expected:
        lines += [f"**What to see.** {expected}", ""]
    lines += [f"**Verdict.** {passed} checks pass.", "", *_table(checks[:HEADLINES]), ""]
    if len(checks) > HEADLINES:
        lines += [
            "<details>",
            f"<summary>All {len(checks)} checks</summary>",
            "",
            *_table(checks),
            "",
            "</details>",
            "",
        ]
    lines += [
        f"`sgdsde reproduce {name}` takes {report.wall_time(provenance)} ({provenance['platform']}, "
        f"{provenance['num_cores']} cores, {provenance['dtype']}, seed {provenance['seed']}, commit {commit}). "
        f"[Experiment](../{folder}/{name}.py) · [figure]({name}/figure.pdf) · [numbers]({name}/summary.csv) · "
        f"[provenance]({name}/provenance.json)",
        "",
    ]
    return "\n".join(lines)
