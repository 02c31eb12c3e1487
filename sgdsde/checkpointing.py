"""Long runs on disk: what `simulate` has done so far, from which it goes on bit for bit after whatever ended it.

    with checkpoints("runs/long", seconds=60):
        simulate(dynamics, start, key, ...)

Within it every `simulate` on the host keeps its chains and its records in a folder of its own, named by its number and
by a fingerprint of all that it computes; the same calls made again go on from there. Draws depend on counters alone, so
an interrupted run and an undisturbed one agree in every bit on the same machine.
"""

import contextlib
import contextvars
import hashlib
import os
import re
import shutil
import time as clock
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.tree_util import tree_leaves, tree_map

from sgdsde.arguments import is_traced, real
from sgdsde.ensemble import Chains

__all__ = ["Checkpoint", "checkpoint_of", "checkpoints"]


WORTH_KEEPING = 2.0
"""seconds of a finished simulation that are not spent a second time: many short ones make a long run too"""


@dataclass
class _Folder:
    """The folder in force, the seconds between two writings, and how many simulations it has seen."""

    path: Path
    seconds: float
    count: int = 0


_folder: contextvars.ContextVar[_Folder | None] = contextvars.ContextVar("checkpoints", default=None)


@contextlib.contextmanager
def checkpoints(folder: Any, *, seconds: Any = 60.0) -> Iterator[None]:
    """Within it, each `simulate` called with known inputs writes what it has done to `folder` every `seconds`, on
    Ctrl-C, on SIGTERM, and when it ends, unless that took less than two seconds; and goes on from what it finds there.

    What is found counts only for the same calls in the same order, with the same code, values, keys and precision:
    anything else begins anew beside it. Delete the folder when its result is safe. Raises TypeError or ValueError
    for what is no folder's name or no time, NotADirectoryError where a file has that name.
    """
    if not isinstance(folder, str | os.PathLike) or not os.fspath(folder):
        raise TypeError(f"folder: expected the name of a folder, such as 'runs/long', got {folder!r}")
    path = Path(folder).absolute()
    time = real("seconds", seconds, "a number >= 0, the time between two checkpoints")
    if time is None or time.shape or not time >= 0:
        raise ValueError(f"seconds: expected a time >= 0 between two checkpoints, got {seconds!r}")
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(f"checkpoints: {folder} is a file; name a folder")
    token = _folder.set(_Folder(path, float(time)))
    try:
        yield
    finally:
        _folder.reset(token)


def checkpoint_of(step: Callable, arguments: tuple, values: Any) -> "Checkpoint | None":
    """The place of the next simulation within `checkpoints`, None outside of it and for one that is traced. Its
    fingerprint: what is computed, as the trace of `step(*arguments)`, and the numbers in `values`."""
    folder = _folder.get()
    fingerprint = None if folder is None else _fingerprint(step, arguments, values)
    if folder is None or fingerprint is None:
        return None
    folder.count += 1
    name = f"{folder.count:03d}-{fingerprint[:16]}"
    now = clock.monotonic()
    return Checkpoint(folder.path / name, folder.seconds, now, now)


@dataclass
class Checkpoint:
    """One simulation's place on disk; make it with `checkpoint_of`."""

    path: Path
    seconds: float
    begun: float
    written: float
    is_failing: bool = False

    def is_due(self, *, finished: bool) -> bool:
        now = clock.monotonic()
        worth_keeping = finished and now - self.begun >= min(self.seconds, WORTH_KEEPING)
        return worth_keeping or now - self.written >= self.seconds

    def restored(self, chains_like: Chains, record_like: Any) -> tuple[int, Chains, list] | None:
        """(microsteps' learning-rate steps done, chains, records) of the newest whole checkpoint, or None."""
        if not self.path.is_dir():
            return None
        with self._manager() as manager:
            for done in sorted(manager.all_steps(), reverse=True):
                try:
                    saved = _verified(manager.restore(done, args=_arguments().StandardRestore()))
                    return done, *_unpacked(saved, chains_like, record_like)
                except Exception as error:  # whatever a damaged file leads a reader to say
                    first = str(error).strip().split("\n")[0][:200]
                    warnings.warn(
                        f"checkpoint {self.path / str(done)} cannot be read and is passed over ({first})", stacklevel=2
                    )
                    manager.delete(done)
        return None

    def write(self, done: int, chains: Chains, records: list) -> None:
        """The newest two are kept; one that is being written when the process dies is not counted. One that cannot be
        written (a full disk) is said in a warning, and the simulation goes on."""
        try:
            self._write(done, chains, records)
            self.is_failing = False
        except Exception as error:  # whatever a file system leads a writer to say
            self._clear()
            if not self.is_failing:
                kept = max(self._steps(), default=None)
                left = "there is no earlier one" if kept is None else f"the last good one, of step {kept}, is kept"
                first = (str(error).strip() or type(error).__name__).split("\n")[0][:100]
                warnings.warn(
                    f"checkpoint {self.path / str(done)} cannot be written ({first}); the simulation goes on, and "
                    f"{left}; free some space on that disk, and the next one will be written",
                    stacklevel=2,
                )
            self.is_failing = True
        self.written = clock.monotonic()

    def _write(self, done: int, chains: Chains, records: list) -> None:
        tree: dict[str, Any] = {"chains": [_plain(leaf) for leaf in tree_leaves(chains)]}
        if records:
            stacked = tree_map(lambda *leaves: np.stack(leaves), *records)
            tree["records"] = [np.asarray(leaf) for leaf in tree_leaves(stacked)]
        tree["digest"] = _digest(tree_leaves(tree))
        with self._manager() as manager:
            if done not in manager.all_steps():
                manager.save(done, args=_arguments().StandardSave(tree))

    def _steps(self) -> list[int]:
        """Steps of the whole checkpoints: the writer names the unfinished ones otherwise."""
        return [int(each.name) for each in self.path.glob("*") if each.name.isdigit()] if self.path.is_dir() else []

    def _clear(self) -> None:
        """What was half written takes room that the next one needs."""
        for each in self.path.glob("*tmp*"):
            shutil.rmtree(each, ignore_errors=True)

    def _manager(self):
        import orbax.checkpoint as orbax

        options = orbax.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=False)
        return orbax.CheckpointManager(self.path, options=options)


def _arguments():
    import orbax.checkpoint as orbax

    return orbax.args


def _plain(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


def _unpacked(saved: dict, chains_like: Chains, record_like: Any) -> tuple[Chains, list]:
    def as_before(leaf, like):
        if jax.dtypes.issubdtype(like.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(jax.numpy.asarray(leaf), impl=jax.random.key_impl(like))
        return jax.device_put(leaf, like.sharding)

    leaves, structure = jax.tree.flatten(chains_like)
    chains = structure.unflatten([as_before(leaf, like) for leaf, like in zip(saved["chains"], leaves, strict=True)])
    stacked = [np.asarray(leaf) for leaf in saved.get("records", [])]
    unflatten = jax.tree.structure(record_like).unflatten
    count = len(stacked[0]) if stacked else 0
    return chains, [unflatten([leaf[i] for leaf in stacked]) for i in range(count)]


def _verified(saved: dict) -> dict:
    digest = np.asarray(saved.pop("digest"))
    if not np.array_equal(digest, _digest(tree_leaves(saved))):
        raise ValueError("its numbers do not have the checksum they were written with")
    return saved


def _digest(leaves: list) -> np.ndarray:
    """SHA-256 of the numbers; of those on other hosts, each host knows its own."""
    total = hashlib.sha256()
    for leaf in leaves:
        if getattr(leaf, "is_fully_addressable", True):
            total.update(np.ascontiguousarray(np.asarray(leaf)).tobytes())
    return np.frombuffer(total.digest(), np.uint8)


def _fingerprint(step: Callable, arguments: tuple, values: Any) -> str | None:
    """None where a function holds a value that something else traces."""
    closed = jax.make_jaxpr(step)(*arguments)
    if is_traced(closed.consts):
        return None
    text = re.sub(r" at 0x[0-9a-f]+", "", str(closed.jaxpr))  # the computation, without places in memory
    total = hashlib.sha256(repr((text, jax.__version__)).encode())
    for leaf in (*closed.consts, *tree_leaves(values)):
        plain = _plain(leaf) if hasattr(leaf, "dtype") else leaf
        if getattr(plain, "is_fully_addressable", True):
            array = np.ascontiguousarray(plain)
            total.update(repr((array.shape, array.dtype.str)).encode() + array.tobytes())
    return total.hexdigest()
