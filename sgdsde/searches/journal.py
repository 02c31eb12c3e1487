"""The trials of a search on disk: asked for, told, and shared by any number of processes, none of them lost.

Optuna's journal lies beside the result, in `.search-<hash>.journal/`, and is only ever appended to; the result holds a
copy. A trial is claimed by the process that computes it, with a lock that vanishes with that process: so one that is
left behind is known, and its values are computed again.
"""

import contextlib
import os
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sgdsde.experiment.folders import ExperimentError, shown
from sgdsde.sweeps.chunks import Claims, claims

try:
    import fcntl
except ImportError:  # a system without locks
    fcntl = None

ASKING = 10**7
"""the lock's byte of whoever asks for trials or writes the result"""
TOLD = "told"
"""the attribute of a trial that holds its outcome; a failed trial without it was left behind by its process"""


@dataclass(frozen=True)
class Outcome:
    """What became of a trial: a value, or the reason why there is none."""

    value: float | None
    standard_error: float | None = None
    reason: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Asked:
    """A trial to compute: what was drawn for each field."""

    number: int
    drawn: Mapping[str, Any]
    trial: Any


def journal_folder(folder: Path) -> Path:
    """Where the journal of a result folder lies."""
    return folder.with_name(f".{folder.name}.journal")


def check_optuna() -> None:
    """Refuse to go on without optuna, and silence it."""
    try:
        import optuna
    except ImportError:
        message = 'A search needs optuna, which is not installed; in the project: pip install -e ".[sweep]".'
        raise ExperimentError(message) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)


@contextlib.contextmanager
def opened(folder: Path, distributions: Mapping[str, Any], *, is_maximised: bool, seed: int) -> Iterator["Journal"]:
    """The journal of a result folder, begun if there is none. Open it once in a process.

    Raises:
        OSError: it cannot be written.
    """
    place = journal_folder(folder)
    place.mkdir(parents=True, exist_ok=True)
    with claims(place) as mine:
        journal = Journal(folder, mine, distributions, is_maximised, seed)
        with journal.alone():
            journal.open()
        yield journal


class Journal:
    """Trials that are asked for and told; `opened` makes one."""

    def __init__(self, folder: Path, mine: Claims, distributions: Mapping[str, Any], is_maximised: bool, seed: int):
        self.file, self._published = journal_folder(folder) / "journal.log", folder / "journal.log"
        self._mine, self._distributions, self._is_maximised, self._seed = mine, distributions, is_maximised, seed
        self._working: set[int] = set()
        self._study: Any = None

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """One process at a time is within it."""
        while not self._mine.take(ASKING):
            time.sleep(0.02)
        try:
            yield
        finally:
            self._mine.release(ASKING)

    def open(self) -> None:
        """Open the file, or go on from the result's copy; within `alone`."""
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        if not self.file.exists() and self._published.exists():
            partial = self.file.with_name(".journal.partial")
            shutil.copyfile(self._published, partial)
            os.replace(partial, self.file)
        lock: Any = _Lock(self.file)
        _mend(self.file, lock)
        storage = JournalStorage(JournalFileBackend(str(self.file), lock_obj=lock if fcntl else None))
        direction = "maximize" if self._is_maximised else "minimize"
        name = {"study_name": "search", "load_if_exists": True}
        self._study = optuna.create_study(storage=storage, direction=direction, sampler=_sampler(0), **name)

    def forget(self) -> None:
        """Begin anew.

        Raises:
            ExperimentError: another process works at a trial.
        """
        with self.alone():
            if self._revive():
                where = shown(self._published.parent)
                raise ExperimentError(f"{where}: another process works at this search; --fresh would undo its work.")
            self._study = None
            self.file.unlink()
            self._published = self.file  # the earlier result's copy is not gone on from
            self.open()

    def ask(self, at_once: int, num_trials: int) -> tuple[list[Asked], bool]:
        """(trials for this process, whether others still work at theirs): at most `at_once`, and as few as complete
        `num_trials` of all processes. Trials that a process left behind come first."""
        with self.alone():
            others = self._revive()
            trials = self._study.get_trials(deepcopy=False)
            count = min(at_once, num_trials - sum(_is_told(trial) for trial in trials) - others)
            for drawn in self._proposals(count - sum(trial.state.name == "WAITING" for trial in trials), trials):
                self._study.enqueue_trial(drawn)
            asked = []
            for _ in range(count):
                trial = self._study.ask(self._distributions)
                self._mine.take(trial.number)
                self._working.add(trial.number)
                asked.append(Asked(trial.number, dict(trial.params), trial))
            return asked, others > 0

    def _proposals(self, count: int, trials: list) -> list[dict[str, Any]]:
        """New points from what the trials before say.

        Optuna's sampler learns nothing from failed trials; here it takes those without a value for bad ones, as it does
        pruned ones, so that it keeps away from where a run diverges. Its random numbers are those of the seed and of
        the number of trials, so that going on after an interruption repeats nothing.
        """
        import optuna
        from optuna.trial import TrialState, create_trial

        sampler = _sampler([self._seed % 2**32, len(trials)])
        study = optuna.create_study(direction=self._study.direction, sampler=sampler)
        has_value = any(trial.state == TrialState.COMPLETE for trial in trials)
        for trial in trials:
            if trial.state == TrialState.COMPLETE:
                study.add_trial(trial)
            elif trial.params.keys() == set(self._distributions):
                state = TrialState.PRUNED if _is_told(trial) else trial.state
                if state == TrialState.RUNNING or (state == TrialState.PRUNED and has_value):
                    parts = {"params": trial.params, "distributions": trial.distributions}
                    study.add_trial(create_trial(state=state, **parts))
        return [dict(study.ask(self._distributions).params) for _ in range(count)]

    def tell(self, asked: Asked, outcome: Outcome) -> None:
        """Write down what became of a trial, in one line first, so that it is there whole or not at all."""
        asked.trial.set_user_attr(TOLD, vars(outcome))
        self._tell(asked.number, outcome)
        self._working.discard(asked.number)
        self._mine.release(asked.number)

    def _tell(self, number: int, outcome: Outcome) -> None:
        import optuna

        if outcome.value is None:
            self._study.tell(number, state=optuna.trial.TrialState.FAIL)
        else:
            self._study.tell(number, outcome.value)

    def told(self) -> list[tuple[int, dict[str, Any], Outcome]]:
        """(number, what was drawn, outcome) of each trial that is done, by number; those left behind are not among
        them, as they are computed again."""
        trials = self._study.get_trials(deepcopy=False)
        return [(t.number, dict(t.params), Outcome(**t.user_attrs[TOLD])) for t in trials if _is_told(t)]

    def _revive(self) -> int:
        """Ask again for trials whose process ended before it told them; the number of those that others work at."""
        import optuna

        others = 0
        for trial in self._study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
            if trial.number in self._working:
                continue
            if not self._mine.take(trial.number):
                others += 1
                continue
            if TOLD in trial.user_attrs:
                self._tell(trial.number, Outcome(**trial.user_attrs[TOLD]))
            else:
                self._study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
                if trial.params.keys() == set(self._distributions):
                    self._study.enqueue_trial(dict(trial.params))
            self._mine.release(trial.number)
        return others


def _is_told(trial: Any) -> bool:
    return trial.state.is_finished() and TOLD in trial.user_attrs


def _sampler(seed: Any) -> Any:
    """Optuna's tree-structured Parzen estimator; trials under way count as bad, so that a batch is spread."""
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an option that some versions call experimental
        state = int(np.random.SeedSequence(seed).generate_state(1)[0])
        return optuna.samplers.TPESampler(seed=state, constant_liar=True)


class _Lock:
    """The lock of the journal's file, as optuna asks for one; unlike its own it vanishes with its process."""

    def __init__(self, file: Path):
        self._file = file.with_name("writing")
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o666)
        if fcntl:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = None


def _mend(file: Path, lock: _Lock) -> None:
    """Cut off a line of which only a part was written, by a process that was killed or a disk that was full."""
    lock.acquire()
    try:
        if file.exists():
            content = file.read_bytes()
            if not content.endswith(b"\n"):
                os.truncate(file, content.rfind(b"\n") + 1)
    finally:
        lock.release()
