"""The folder of a sweep: begun with its plan, filled with chunks, and replaced as a whole by the finished result.

sweep.json      what is swept: config, axes, seeds, groups and chunks
chunks/         while it is computed: finished chunks, and the lock by which processes share the work
group-000.nc    one file a group, in labelled dimensions
summary.csv, figure.pdf, figure.png, provenance.json (with the checksum of every file)
"""

import json
import math
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import xarray

from sgdsde import style
from sgdsde.devices import agreed
from sgdsde.experiment import provenance, results
from sgdsde.experiment.files import create_text, publish, recover, renaming, working_copy, working_folder
from sgdsde.experiment.folders import ExperimentError, plain, shown
from sgdsde.experiment.runner import identity_of, is_complete, opened_record
from sgdsde.experiment.validation import (
    COMMAND,
    FLAG,
    LIST,
    MEND,
    NAME,
    NUMBER,
    TABLE,
    TEXT,
    WHOLE,
    Each,
    Optional,
    parsed_json,
    read_text,
    taken,
)
from sgdsde.sweeps.axes import parsed_assignments
from sgdsde.sweeps.chunks import attributes_of, claims, finished
from sgdsde.sweeps.dataset import combined, group_dataset
from sgdsde.sweeps.plan import Chunk, Group, Sweep, groups_of, num_items
from sgdsde.sweeps.planning import Plan, planned
from sgdsde.sweeps.reading.figures import sweep_figure
from sgdsde.sweeps.reading.summary import write_summary_csv

DESCRIPTION = {
    "schema": WHOLE, "experiment": NAME, "hash": TEXT, "title": TEXT, "command": COMMAND, "start": TEXT,
    "config": TABLE, "axes": [Each(LIST)], "num_seeds": WHOLE, "physical_time": Optional(NUMBER), "asks_checks": FLAG,
    "smoke": FLAG, "groups": [{"static": TABLE, "where": [[WHOLE]]}], "chunks": [[WHOLE]], "num_bytes": NUMBER,
}  # fmt: skip
"""what `sweep.json` holds"""
FAILURES = [{"point": TABLE, "seed": WHOLE, "reason": TEXT}]
FINISHING = 10**7
"""the lock's byte that stands for putting the result together"""


def place_of(sweep: Sweep, runs: Path) -> Path:
    """`runs/NAME/sweep-<hash>`: changed values or changed code are another sweep."""
    return runs / sweep.experiment.name / f"sweep-{identity_of(sweep.experiment, **sweep.as_dict())}"


def begin(sweep: Sweep, folder: Path, *, size: int | None, fresh: bool, command: str) -> Plan | None:
    """Make the folder with its plan, or find the plan of a process that began before; None if the sweep is complete.

    fresh: compute everything again; a complete result stays until the new one takes its place.

    Hosts of one program call it together, in a folder that all of them see.

    Raises:
        ExperimentError: values with which the experiment cannot run; with `fresh`, another process works there.
    """
    recover(folder)  # a process that died while the result took its place has left it beside
    chunks, is_first = folder / "chunks", jax.process_index() == 0
    if fresh and is_first and folder.is_dir():
        _forget_chunks(folder)
    if not (folder / "sweep.json").exists():
        plan = planned(sweep, size)
        if is_first:
            chunks.mkdir(parents=True, exist_ok=True)
            with renaming(folder.parent):  # not between the two renames of a process that has just finished
                create_text(folder / "sweep.json", results.as_json(_described(sweep, plan, folder.name, command)))
    elif not chunks.is_dir():
        if is_complete(folder, folder.name, print):
            return None
        chunks.mkdir(exist_ok=True)
    agreed(0)  # the other hosts read what the first one wrote
    return _plan_of(sweep, folder)


def _forget_chunks(folder: Path) -> None:
    """Every chunk, and the plan too unless it belongs to a complete result."""
    chunks = folder / "chunks"
    chunks.mkdir(exist_ok=True)
    with claims(chunks) as mine:
        if not mine.take_all():
            raise ExperimentError(f"{shown(folder)}: another process computes this sweep; --fresh would undo its work.")
        for file in finished(chunks).values():
            file.unlink()
        if not (folder / "provenance.json").exists():
            (folder / "sweep.json").unlink(missing_ok=True)


def _plan_of(sweep: Sweep, folder: Path) -> Plan:
    """The plan in the folder, which must be one of this sweep.

    Raises:
        ExperimentError: it is that of another sweep, or damaged.
    """
    described, groups = read_description(folder), groups_of(sweep)
    asked = json.loads(results.as_json({**sweep.as_dict(), "hash": folder.name, "groups": _as_lists(groups)}))
    is_same = {key: described.get(key) for key in asked} == asked
    plan = Plan(groups, read_plan(folder).chunks, described["num_bytes"]) if is_same else None
    for group in groups if plan is not None else ():
        cuts = [(chunk.start, chunk.stop) for chunk in plan.chunks if chunk.group == group.number]
        is_same &= [0, *(stop for _, stop in cuts)] == [*(start for start, _ in cuts), num_items(sweep, group)]
    if plan is None or not is_same:
        raise ExperimentError(
            f"{shown(folder)}/sweep.json is damaged or that of another sweep; --fresh computes this one anew."
        )
    return plan


def _as_lists(groups: Sequence[Group]) -> list[dict[str, Any]]:
    return [{"static": dict(group.static), "where": group.where} for group in groups]


def _described(sweep: Sweep, plan: Plan, identity: str, command: str) -> dict[str, Any]:
    return {
        "schema": results.SCHEMA,
        "experiment": sweep.experiment.name,
        "hash": identity,
        "title": sweep.experiment.description.split("\n")[0],
        "command": command,
        "start": provenance.now(),
        **sweep.as_dict(),
        "groups": _as_lists(plan.groups),
        "chunks": [[chunk.group, chunk.start, chunk.stop] for chunk in plan.chunks],
        "num_bytes": plan.num_bytes,
    }


def read_description(folder: Path) -> dict[str, Any]:
    """`sweep.json` of a sweep's folder.

    Raises:
        ExperimentError: it is missing, damaged, or of another schema.
    """
    file = folder / "sweep.json"
    described = parsed_json(file)
    if not isinstance(described, dict) or described.get("schema") != results.SCHEMA:
        raise ExperimentError(f"{shown(file)} has not the schema {results.SCHEMA} of this version; compute it anew.")
    taken_in = taken(described, DESCRIPTION, file)
    if not _fits_together(taken_in):
        raise ExperimentError(f"{shown(file)} is damaged: its groups and chunks are not those of its axes. {MEND}")
    return taken_in


def _fits_together(described: Mapping[str, Any]) -> bool:
    """Whether the groups are parts of the product of the axes, as many points as it has, and the chunks parts of
    them."""
    axes = described["axes"]
    lengths = [{len(values) for values in axis.values()} for axis in axes]
    if not all(len(each) == 1 and min(each) > 0 for each in lengths) or described["num_seeds"] < 1:
        return False
    sizes = [min(each) for each in lengths]
    wheres = [group["where"] for group in described["groups"]]
    inside = all(
        len(where) == len(sizes) and all(0 <= place < size for size, some in zip(sizes, where) for place in some)
        for where in wheres
    )
    num_points = sum(math.prod(map(len, where)) for where in wheres)
    cuts_fit = all(len(cut) == 3 and 0 <= cut[0] < len(wheres) for cut in described["chunks"])
    return inside and num_points == math.prod(sizes) and cuts_fit


def read_plan(folder: Path) -> Plan:
    """The plan in a sweep's folder; raises as `read_description`."""
    described = read_description(folder)
    groups = [
        Group(number, group["static"], tuple(map(tuple, group["where"])))
        for number, group in enumerate(described["groups"])
    ]
    chunks = [Chunk(number, *cut) for number, cut in enumerate(described["chunks"])]
    return Plan(groups, chunks, described["num_bytes"])


def whole_dataset(sweep: Sweep, plan: Plan, folder: Path) -> tuple[xarray.Dataset, list[xarray.Dataset]]:
    """All finished chunks as one dataset, and as those of the groups; raises DamagedChunk as `group_dataset`."""
    groups = [group_dataset(sweep, group, plan.chunks, folder / "chunks") for group in plan.groups]
    return combined([axis.values for axis in sweep.axes], [group.where for group in plan.groups], groups), groups


def finish(sweep: Sweep, plan: Plan, folder: Path, command: str) -> None:
    """Put the result together from the chunks, and in their place: one process does, others wait for it.

    Raises:
        DamagedChunk: a chunk is damaged, and has been removed.
        OSError: the result cannot be written; the chunks stay.
    """
    chunks = folder / "chunks"
    with claims(chunks) as mine:
        while mine is not None and not mine.take(FINISHING):
            time.sleep(0.2)
        if mine is None or not chunks.is_dir():  # another process has finished meanwhile
            return
        whole, groups = whole_dataset(sweep, plan, folder)
        described = read_description(folder)
        record = _record(sweep, folder, command, described["start"])
        with working_folder(folder) as work:
            shutil.copyfile(folder / "sweep.json", work / "sweep.json")
            for group, dataset in zip(plan.groups, groups):
                results.write_dataset(work / f"group-{group.number:03d}.nc", dataset)
            whole.attrs |= described_attributes(described, record)
            write_summary_csv(work / "summary.csv", whole)
            if len(whole.data_vars) > 1:  # beside `failed`
                style.save(sweep_figure(whole), work)
            results.write_provenance(work, record, seal=True)
            publish(work, folder)


def _record(sweep: Sweep, folder: Path, command: str, started: str) -> dict[str, Any]:
    """The provenance of the finished sweep; its wall time is that of all chunks together, whoever computed them."""
    seconds = sum(float(attributes_of(file)["seconds"]) for file in finished(folder / "chunks").values())
    record = opened_record(
        sweep.experiment, smoke=sweep.smoke, seed=sweep.config.seed, command=command, named=folder.name
    )
    ended = {"status": "done", "start": started, "end": provenance.now(), "wall_seconds": round(seconds, 2)}
    return record | ended | provenance.peak_memory()


def described_attributes(described: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, str]:
    """What is said of a sweep in the attributes of its dataset, as texts."""
    return {
        "experiment": described["experiment"],
        "title": described["title"],
        "axes": json.dumps([list(axis) for axis in described["axes"]]),
        "config": json.dumps(described["config"]),
        "provenance": json.dumps(record),
    }


def load_sweep(folder: Path) -> xarray.Dataset:
    """A finished sweep as one dataset, every byte of it verified.

    Raises:
        ExperimentError: it is not finished, damaged, or of another schema.
    """
    described = read_description(folder)
    if not (folder / "provenance.json").exists():
        done, total = len(finished(folder / "chunks")), len(described["chunks"])
        raise ExperimentError(
            f"{shown(folder)} is not finished: {done} of {total} chunks are done. The command goes on with the rest: "
            f"{described['command']}"
        )
    record = results.verified(folder)
    if record["hash"] != described["hash"]:
        raise ExperimentError(
            f"{shown(folder)}: sweep.json is of {described['hash']}, the files are of {record['hash']}."
        )
    groups = [results.read_dataset(folder / f"group-{number:03d}.nc") for number in range(len(described["groups"]))]
    try:
        whole = combined(described["axes"], [group["where"] for group in described["groups"]], groups)
    except (KeyError, IndexError, ValueError, TypeError, AttributeError, RecursionError) as error:
        why = plain(f"{type(error).__name__}: {error}")
        raise ExperimentError(f"{shown(folder)}: the arrays are not those of its sweep.json ({why}). {MEND}") from error
    for name, kind in (("failures", FAILURES), ("padded", TABLE)):
        whole.attrs[name] = json.dumps(read_text(whole.attrs[name], kind, folder / "group-000.nc"))
    whole.attrs |= described_attributes(described, record)
    return whole


def redraw_sweep(folder: Path, values: Sequence[str] | None, at: Sequence[str]) -> None:
    """Draw the figure of a finished sweep again; `values` and `at` ("field=value") choose what it shows.

    Raises:
        ExperimentError: as `load_sweep`; an unknown value or field.
    """
    dataset = load_sweep(folder)
    drawn = sweep_figure(dataset, values=values, at=parsed_assignments(at))
    record = json.loads(dataset.attrs["provenance"]) | {"redrawn": provenance.now()}
    with working_copy(folder, folder) as work:
        style.save(drawn, work)
        results.write_provenance(work, record, seal=True)
        publish(work, folder)
