"""The work of a sweep: claim a chunk, compute it, write it, until none is missing. Any number of processes share it.

The first Ctrl-C or SIGTERM ends the work after the chunk under way; the second ends the process at once, which loses
that chunk alone. Several hosts of one `jax.distributed` program compute each chunk together; the first one decides and
writes.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import jax
from tqdm.auto import tqdm

from sgdsde.devices import agreed
from sgdsde.experiment.config import reason
from sgdsde.interruption import Stop, stopping
from sgdsde.sweeps.chunks import Claims, Part, claims, finished, write_part
from sgdsde.sweeps.judging import judgements
from sgdsde.sweeps.plan import Chunk, Group, Sweep, items_of
from sgdsde.sweeps.program import Items, Program

PAUSE = 0.5
"""seconds between two looks at what other processes have finished"""
DONE, STOPPED, ELSEWHERE = -1, -2, -3


def compute_missing(
    sweep: Sweep,
    groups: list[Group],
    chunks: list[Chunk],
    folder: Path,
    *,
    only: Collection[int] | None = None,
    waits: bool = True,
) -> bool:
    """Compute the chunks that are missing in `folder`; whether all that were asked for are there in the end.

    Args:
        only: the numbers of the chunks that are asked for; all by default.
        waits: stay until other processes have finished theirs, and take over those of one that died; else return.

    Raises:
        OSError: a chunk cannot be written. Those written before are untouched.
    """
    wanted = [chunk for chunk in chunks if only is None or chunk.number in only]
    total = sum(map(len, wanted))
    program: Program | None = None
    with claims(folder) as mine, stopping() as stop, _bar(total) as bar:
        while mine is not None:
            missing = _missing(wanted, folder)
            bar.n = total - sum(map(len, missing))
            bar.refresh()
            choice = agreed(_choice(missing, folder, mine, stop, program) if jax.process_index() == 0 else 0)
            if choice == ELSEWHERE and waits:
                time.sleep(PAUSE)
                continue
            if choice in (DONE, STOPPED, ELSEWHERE):
                return choice == DONE
            chunk = chunks[choice]
            try:
                if program is None or program.group.number != chunk.group:
                    bar.set_postfix_str(f"compiling {_shown(groups[chunk.group])}", refresh=True)
                    size = max(len(each) for each in chunks if each.group == chunk.group)
                    program = Program(sweep, groups[chunk.group], size, in_background)
                bar.set_postfix_str(_shown(program.group), refresh=True)
                part = _computed(program, chunk)
                if jax.process_index() == 0:
                    write_part(folder, chunk.number, part)
            finally:
                mine.release(chunk.number)
    return True  # another process has finished, and put the result together


def _bar(total: int) -> tqdm:
    is_hidden = None if jax.process_index() == 0 else True  # None: where there is no terminal
    return tqdm(total=total, unit=" runs", disable=is_hidden, leave=False, delay=0.5)


def _shown(group: Group) -> str:
    return " ".join(f"{name}={value}" for name, value in group.static.items())


def _missing(wanted: list[Chunk], folder: Path) -> list[Chunk]:
    done = finished(folder)
    return [chunk for chunk in wanted if chunk.number not in done]


def _choice(missing: list[Chunk], folder: Path, mine: Claims, stop: Stop, program: Program | None) -> int:
    """The number of a missing chunk that is now claimed, or DONE, STOPPED, ELSEWHERE (others work at the rest)."""
    if not missing:
        return DONE
    if stop.requested:
        return STOPPED
    current = None if program is None else program.group.number
    place_in_group: dict[int, int] = {}
    order = []
    for chunk in missing:
        place = place_in_group[chunk.group] = place_in_group.get(chunk.group, -1) + 1
        order.append((chunk.group != current, place, chunk.number))
    for *_, number in sorted(order):  # the compiled group first; else the groups that nobody has begun
        if mine.take(number):
            if number not in finished(folder):
                return number
            mine.release(number)  # finished between the two looks
    return ELSEWHERE


def in_background(function: Callable[[], Any]) -> Any:
    """The result of a function that runs on a thread, so that this one hears signals meanwhile.

    What raises here, a second Ctrl-C or a scheduler's request to leave, ends the process: the computation cannot be
    stopped, and nothing is half written.
    """
    result: list[Any] = []
    failure: list[BaseException] = []

    def work():
        try:
            result.append(function())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=work, daemon=True)
    try:
        thread.start()
        while thread.is_alive():
            thread.join(0.2)
    except BaseException as error:
        status = error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 130
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(status % 256)
    if failure:
        raise failure[0]
    return result[0]


def _computed(program: Program, chunk: Chunk) -> Part:
    """One chunk: the arrays, what the experiment's checks say of each item, and what failed."""
    sweep = program.sweep
    items = list(items_of(sweep, program.group))[chunk.start : chunk.stop]
    started = time.monotonic()
    try:
        arrays, failures = program(Items(*map(list, zip(*items))))
    except Exception as error:  # whatever the experiment or the compiler says: the other chunks go on
        arrays, failures = {}, dict.fromkeys(range(len(chunk)), reason(error, sweep.experiment.file))
    attributes = {"seconds": f"{time.monotonic() - started:.3f}", "num_compilations": str(program.num_compilations)}
    if arrays and sweep.asks_checks:
        judged, told = judgements(sweep, items, arrays, failures)
        arrays, attributes = arrays | judged, attributes | told
    return Part(arrays, failures, attributes)
