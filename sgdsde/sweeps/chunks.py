"""Finished parts of a sweep on disk, and who works at which: so that nothing is lost and nothing done twice.

A chunk is one netCDF file, `NUMBER-DIGEST.nc`, written under a hidden name, synchronised and renamed: it is wholly
there or not there, and its name holds its checksum. Claims are locks on single bytes of one file, which vanish with
their process, however it ends.
"""

import contextlib
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sgdsde.experiment.files import fsync
from sgdsde.experiment.folders import ExperimentError, plain, shown
from sgdsde.experiment.results import read_dataset, write_arrays
from sgdsde.experiment.validation import TEXT, Each, read_text

try:
    import fcntl
except ImportError:  # a system without locks: one process at a time
    fcntl = None

NAME = re.compile(r"(\d{6})-([0-9a-f]{16})\.nc")


@dataclass(frozen=True)
class Part:
    """What a chunk's file holds.

    arrays: named, with a leading axis of items.
    failures: the reason of each item that could not be computed, by its place in the chunk.
    attributes: texts: how long it took, on how many devices.
    """

    arrays: dict[str, np.ndarray]
    failures: dict[int, str]
    attributes: dict[str, str]


def finished(folder: Path) -> dict[int, Path]:
    """The files of the finished chunks, by number."""
    named = ((NAME.fullmatch(entry), entry) for entry in (os.listdir(folder) if folder.is_dir() else ()))
    return {int(match[1]): folder / entry for match, entry in named if match}


def write_part(folder: Path, number: int, part: Part) -> Path:
    """Write a chunk's file; either all of it is there afterwards or nothing.

    Raises:
        OSError: it cannot be written.
    """
    partial = folder / f".{number:06d}.partial-{secrets.token_hex(4)}"
    own = {name: ("item", *(f"{name}_{axis}" for axis in range(array.ndim - 1))) for name, array in part.arrays.items()}
    attributes = dict(part.attributes) | {"failures": json.dumps(part.failures)}
    try:
        write_arrays(partial, part.arrays, own, attributes)
        fsync(partial)
        place = folder / f"{number:06d}-{_digest(partial)}.nc"
        os.replace(partial, place)
    finally:
        partial.unlink(missing_ok=True)
    fsync(folder)
    return place


def read_part(file: Path) -> Part | None:
    """A chunk's file read back; None if it is damaged: its bytes are not those that its name was made from."""
    if _digest(file) != NAME.fullmatch(file.name)[2]:
        return None
    dataset = read_dataset(file)
    arrays = {str(name): np.asarray(dataset[name].values) for name in dataset.variables}
    attributes = {str(name): str(value) for name, value in dataset.attrs.items()}
    failures = failures_in(attributes, file)
    del attributes["failures"]
    return Part(arrays, failures, attributes)


def attributes_of(file: Path) -> dict[str, Any]:
    """The texts of a chunk's file alone: how long it took, what failed.

    Raises:
        ExperimentError: the file is damaged.
    """
    import xarray

    try:
        with xarray.open_dataset(file, engine="netcdf4", decode_times=False) as dataset:
            texts = {name: plain(str(value)) for name, value in dataset.attrs.items()}
        float(texts["seconds"])
    except (OSError, RuntimeError, ValueError, KeyError, AttributeError) as error:
        why = plain(f"{type(error).__name__}: {error}")
        raise ExperimentError(
            f"{shown(file)} is damaged ({why}); remove it, and the sweep computes it again."
        ) from error
    return texts | {"failures": failures_in(texts, file)}


def failures_in(texts: Mapping[str, Any], file: Path) -> dict[int, str]:
    """The reasons in the texts of a chunk, by the place of their item."""
    told = read_text(str(texts.get("failures")), Each(TEXT), file)
    return {int(place): why for place, why in told.items() if place.isdigit()}


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


class Claims:
    """The chunks that this process works at: byte NUMBER of the file `lock` is locked."""

    def __init__(self, descriptor: int | None):
        self._descriptor = descriptor

    def take(self, number: int) -> bool:
        """Whether the chunk is now this process's; False if another one has it."""
        return self._lock(1, number)

    def take_all(self) -> bool:
        """The same for every chunk at once."""
        return self._lock(0, 0)  # to the end of the file, wherever that is

    def _lock(self, length: int, start: int) -> bool:
        if self._descriptor is None:
            return True
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, length, start)
        except (BlockingIOError, PermissionError):
            return False
        except OSError:  # a file system without locks: one process at a time, as the documentation says
            return True
        return True

    def release(self, number: int) -> None:
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, number)


@contextlib.contextmanager
def claims(folder: Path) -> Iterator[Claims | None]:
    """The claims on the chunks of a folder, None if it is no longer there: the result has taken its place. Open it once
    in a process: closing it releases all of them."""
    try:
        descriptor = None if fcntl is None else os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o666)
    except FileNotFoundError:
        yield None
        return
    try:
        yield Claims(descriptor)
    finally:
        if descriptor is not None:
            os.close(descriptor)


def is_worked_at(folder: Path, numbers: Sequence[int]) -> list[int]:
    """Those chunks that some other process works at now."""
    with claims(folder) as mine:
        busy = []
        for number in numbers if mine is not None else ():
            if mine.take(number):
                mine.release(number)
            else:
                busy.append(number)
        return busy
