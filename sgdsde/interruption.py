"""Ctrl-C while steps are computed: the stretch under way is finished, so that nothing done is lost; a second Ctrl-C
stops at once."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sgdsde.ensemble import Trajectory

__all__ = ["Interrupted", "Stop", "stopping"]


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during `simulate`: `trajectory` holds everything recorded so far and can be given back as `start`.

    It is None if no record was complete. Within `checkpoints`, whose folder is `kept_in`, the message says that the
    same calls go on from there.
    """

    def __init__(self, trajectory: Trajectory | None, kept_in: Path | None = None):
        within = f"the same calls within checkpoints({str(kept_in)!r}) go on from there; " if kept_in else ""
        super().__init__(
            f"simulate was interrupted; {within}what was recorded so far is in the exception's `trajectory`"
        )
        self.trajectory = trajectory


@dataclass
class Stop:
    """Whether somebody has asked for an end."""

    requested: bool = False


@contextlib.contextmanager
def stopping() -> Iterator[Stop]:
    """Within it, the first SIGINT or SIGTERM only sets `requested`; a second SIGINT raises KeyboardInterrupt.

    Signals reach the main thread alone: elsewhere, and for signals that are ignored, nothing changes.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(number, frame):
        if stop.requested:
            raise KeyboardInterrupt
        stop.requested = True
        print("\nfinishing the steps under way; Ctrl-C again stops at once", file=sys.stderr, flush=True)

    caught = [each for each in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(each) not in (signal.SIG_IGN, None)]
    before = {each: signal.signal(each, ask) for each in caught}
    try:
        yield stop
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
