"""What a terminal or a system may lack, and what is done without it."""

import codecs
import contextlib
import os
import sys
import threading
from collections.abc import Iterator

from sgdsde.commands.parsing import BROKEN, complain

ASCII = {"±": "+-", "×": "x", "≤": "<=", "≥": ">=", "…": "...", "–": "-", "—": "-", "’": "'", "é": "e", "Σ": "Sigma"}
"""how characters are written where the terminal knows only ASCII; any other becomes ?"""
AGAIN = 0.05
"""seconds after which a swallowed Ctrl-C is sent again"""


def write_what_can_be_written() -> None:
    """Text that the terminal's encoding lacks is written in ASCII, never an error."""
    codecs.register_error("in_ascii", _in_ascii)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError, OSError):  # a stream of another kind, or a closed one
            stream.reconfigure(errors="in_ascii")  # type: ignore[union-attr]


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(ASCII.get(character, "?") for character in error.object[error.start : error.end]), error.end


@contextlib.contextmanager
def no_interrupt_is_lost() -> Iterator[None]:
    """Within it a Ctrl-C that hits where Python can raise nothing, such as a callback of JAX during garbage collection,
    is sent again a moment later instead of being printed and forgotten."""
    before = sys.unraisablehook

    def look(unraisable: object) -> None:
        if isinstance(getattr(unraisable, "exc_value", None), KeyboardInterrupt):
            again = threading.Timer(AGAIN, _interrupt)
            again.daemon = True
            again.start()
        else:
            before(unraisable)

    sys.unraisablehook = look
    try:
        yield
    finally:
        sys.unraisablehook = before


def _interrupt() -> None:
    import signal

    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


def all_written(status: int) -> int:
    """The exit status once standard output is written, which may find that it cannot be: a full disk, a closed pipe."""
    try:
        sys.stdout.flush()
        return status
    except OSError as error:
        return output_lost(error)


def is_of_output(error: OSError) -> bool:
    """Whether an error is that of standard output: no file is named, and an empty line cannot be written either."""
    if error.filename is not None:
        return False
    try:
        os.write(sys.stdout.fileno(), b"\n")
        return False
    except (OSError, ValueError):
        return True


def output_lost(error: OSError) -> int:
    """Say that standard output cannot be written, unless its reader has gone, such as `head`; the exit status."""
    _discard_output()
    if isinstance(error, BrokenPipeError):
        return BROKEN
    return complain(f"Standard output cannot be written: {error.strerror}. Results are untouched.", BROKEN)


def _discard_output() -> None:
    """What is still in the buffer goes nowhere, or Python would complain when it leaves."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
