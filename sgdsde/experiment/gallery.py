"""The gallery page, `results/README.md`: for each committed result its claim, source, figure, numbers and verdict; and
the same results in short where README.md has the marks for them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sgdsde.experiment import freshness, report, results
from sgdsde.experiment.check import check_of
from sgdsde.experiment.expectation import filled, headlines, sentence_of
from sgdsde.experiment.files import write_text
from sgdsde.experiment.folders import ExperimentError, description, first_paragraph, nearest, shown

HEAD = """# Results: claims of the field, checked

Each row is a claim, where it comes from, and what a simulation beside the theory said. Every verdict is a list of
measurements, each beside a predicted number: "agree" passes where |measured - predicted| is within the tolerance and
5.9 standard errors are smaller than the tolerance (otherwise "underpowered", which fails); "differ", "below" and
"above" need 5.9 standard errors. z is |measured - predicted| in standard errors: an agreement with z above 5.9 is a
difference that the sample resolves, and its size is said. Each folder here was made by `sgdsde reproduce NAME`; this
page was made from their verdicts by `sgdsde gallery`.
"""
SILENCE = "What it does not say"


@dataclass(frozen=True)
class Entry:
    """A committed result: its experiment file and docstring, what its SEE and its record say."""

    name: str
    file: Path
    text: str
    see: str
    verdict: dict[str, Any]
    provenance: dict[str, Any]


def entries_of(experiments: Path, folder: Path) -> list[Entry]:
    """The result folders under `folder`, in the order of their names.

    Raises:
        ExperimentError: a result is damaged, unfinished, or has no experiment file.
    """
    names = sorted(
        file.parent.name for file in folder.glob("*/provenance.json") if not file.parent.name.startswith(".")
    )
    entries = []
    for name in names:
        provenance, verdict = results.verified(folder / name), results.read_verdict(folder / name)
        file = experiments / f"{name}.py"
        if provenance["status"] != "done" or verdict is None:
            raise ExperimentError(f"{shown(folder / name)}: status {provenance['status']}; reproduce it, or remove it.")
        if not file.is_file():
            raise ExperimentError(f"{shown(folder / name)} has no experiment file {shown(file)}; remove the result.")
        entries.append(Entry(name, file, description(file), sentence_of(file), verdict, provenance))
    return entries


def gallery_text(experiments: Path, folder: Path) -> str:
    """The page for the result folders under `folder`.

    Raises:
        ExperimentError: a result is damaged, has no experiment file, or a SEE that its verdict cannot fill.
    """
    entries = entries_of(experiments, folder)
    overview = ["| figure | claim | source | checks passed | time |", "| --- | --- | --- | --- | --- |"]
    for entry in entries:
        cells = (f"[{entry.name}](#{entry.name})", _sentence(first_paragraph(entry.text)), _part(entry.text, "Source"))
        overview.append(_row([*cells, _passed(entry), report.wall_time(entry.provenance)]))
    if not entries:
        overview = ["No results yet: `sgdsde reproduce --all`."]
    return "\n".join([HEAD, *overview, "", *(_section(entry, experiments.name) for entry in entries)])


def readme_text(text: str, experiments: Path, folder: Path) -> str:
    """README.md with what lies between its marks written anew: `<!-- results -->` holds the table of all results and
    what they do not say, `<!-- see NAME -->` what one result shows; each ends at `<!-- end -->`.

    Raises:
        ExperimentError: as `gallery_text`, or a mark of a result that is not there.
    """
    entries = {entry.name: entry for entry in entries_of(experiments, folder)}

    def between(match: re.Match) -> str:
        name = match[2]
        if name is not None and name not in entries:
            raise ExperimentError(f"README.md: no result for `<!-- see {name} -->`. {nearest(name, entries)}")
        lines = _short(entries.values(), folder.name) if name is None else [_seen(entries[name])]
        return "\n".join([match[1], *lines, match[3]])

    return re.sub(r"(<!-- (?:results|see (\w+)) -->)\n.*?(<!-- end -->)", between, text, flags=re.DOTALL)


def write_gallery(experiments: Path, folder: Path) -> Path:
    """Write the page and README.md's part, unless they already say so."""
    folder.mkdir(parents=True, exist_ok=True)
    for page, text in _pages(experiments, folder).items():
        if _read(page) != text:
            write_text(page, text)
    return folder / "README.md"


def stale_pages(experiments: Path, folder: Path) -> list[Path]:
    """The pages that differ from what the verdicts say."""
    return [page for page, text in _pages(experiments, folder).items() if _read(page) != text]


def stale_results(experiments: Path, folder: Path) -> list[str]:
    """What to do about each result that today's code may not make: see `freshness`."""
    names = (file.parent.name for file in sorted(folder.glob("*/provenance.json")))
    found = [(name, freshness.stale(folder / name, experiments / f"{name}.py")) for name in names]
    return [f"{shown(folder / name)}: {why}" for name, why in found if why]


def _pages(experiments: Path, folder: Path) -> dict[Path, str]:
    pages, readme = {folder / "README.md": gallery_text(experiments, folder)}, folder.parent / "README.md"
    if readme.is_file():
        pages[readme] = readme_text(readme.read_text(encoding="utf-8"), experiments, folder)
    return pages


def _short(entries: Iterable[Entry], results: str) -> list[str]:
    """README's table of results, and below it what they do not say."""
    lines = ["| figure | what one should see | checks | time |", "| --- | --- | --- | --- |"]
    silences = []
    for entry in entries:
        figure = f"[{entry.name}]({results}/{entry.name}/figure.png)"
        lines.append(_row([figure, _seen(entry), _passed(entry), report.wall_time(entry.provenance)]))
        silences.append(f"- **{entry.name}**: {_silence(entry)}")
    return [*lines, "", "<details>", f"<summary>{SILENCE}</summary>", "", *silences, "", "</details>"]


def _seen(entry: Entry) -> str:
    return _sentence(filled(entry.see, entry.verdict["checks"]))


def _silence(entry: Entry) -> str:
    """What the docstring says that a result does not say, and which agreements are differences that it resolves."""
    said, agreements = _part(entry.text, SILENCE), [row for row in entry.verdict["checks"] if row["expect"] == "agree"]
    resolved = [check for check in map(check_of, agreements) if check.passed and check.is_resolved]
    if not resolved:
        return said
    largest = max(resolved, key=lambda check: check.z or 0.0)
    differ = "is a difference" if len(resolved) == 1 else "are differences"
    return (
        f"{said} Within their tolerances, {len(resolved)} of {len(agreements)} agreements {differ} that the sample "
        f"resolves; `{largest.name}` differs by {report.deviation(largest)} (allowed: {report.within(largest)}), "
        f"z = {largest.z:.0f}."
    ).strip()


def _passed(entry: Entry) -> str:
    checks = entry.verdict["checks"]
    failed = "" if entry.verdict["passed"] else " **FAILED**"
    return f"{sum(check['verdict'] == 'pass' for check in checks)} of {len(checks)}{failed}"


def _read(page: Path) -> str | None:
    return page.read_text(encoding="utf-8") if page.is_file() else None


def _commit(record: dict[str, Any]) -> str:
    return (record["commit"] or "none")[:10] + (" with uncommitted changes" if record["dirty"] else "")


def _part(text: str, name: str) -> str:
    """What an experiment's docstring says after "Source:" or "What it does not say:", up to the next such word, as one
    line; empty where it says nothing."""
    found = re.search(rf"\b{name}:(.*?)(?=\bCommand:|\n\s*\n|\Z)", text, re.DOTALL)
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
        cells[6] = cells[6] if cells[6].startswith("pass") else f"**{cells[6]}**"
        lines.append(_row(cells))
    return lines


def _section(entry: Entry, folder: str) -> str:
    name, text, provenance, checks = entry.name, entry.text, entry.provenance, entry.verdict["checks"]
    commit = _commit(provenance) + (f", judged at {_commit(provenance['judged'])}" if "judged" in provenance else "")
    chosen, silence = headlines(entry.see, checks), _silence(entry)
    lines = [f"## {name}", "", _sentence(first_paragraph(text)), "", f"**Source.** {_part(text, 'Source')}", ""]
    lines += [f"![{_sentence(first_paragraph(text)).rstrip('.')}]({name}/figure.png)", ""]
    if entry.see:
        lines += [f"**What to see.** {_seen(entry)}", ""]
    if silence:
        lines += [f"**{SILENCE}.** {silence}", ""]
    lines += [f"**Verdict.** {_passed(entry)} checks pass.", "", *_table(chosen), ""]
    rest = [check for check in checks if check not in chosen]
    if rest:
        unfolds = ["<details>", f"<summary>The other {len(rest)} checks</summary>", "", *_table(rest), "", "</details>"]
        lines += [*unfolds, ""]
    lines += [
        f"`sgdsde reproduce {name}` takes {report.wall_time(provenance)} ({provenance['platform']}, "
        f"{provenance['num_cores']} cores, {provenance['dtype']}, seed {provenance['seed']}, commit {commit}). "
        f"[Experiment](../{folder}/{name}.py) · [figure]({name}/figure.pdf) · [numbers]({name}/summary.csv) · "
        f"[provenance]({name}/provenance.json)",
        "",
    ]
    return "\n".join(lines)
