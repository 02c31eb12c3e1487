"""A user's own functions under JAX's trace: what goes wrong inside one is said in one sentence, with its line."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import jax
import numpy as np

__all__ = ["explained", "shapes_of", "traced"]

OURS = str(Path(__file__).parent)
MACHINERY = (*(str(Path(module.__file__).parent) for module in (jax, np)), OURS)
"""folders of code that is not the user's"""


def shapes_of(name: str, function: Callable, *arguments: Any, expected: str) -> Any:
    """`jax.eval_shape(function, *arguments)`. Raises as `traced` does, for the argument `name`; where the function was
    not even entered or gives no arrays, what is expected of it is said instead."""
    with traced(name, f"expected {expected}; "):
        return jax.eval_shape(function, *arguments)


@contextlib.contextmanager
def traced(name: str, expected: str = "") -> Iterator[None]:
    """Within it, an error that comes of a user's function becomes a TypeError (JAX cannot trace it) or a ValueError (it
    raises) that begins with `name` and gives the function, its file and its line. What this package itself raises has
    a sentence already and passes unchanged."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        frames = _frames(error)
        innermost = frames[-1][0].f_code
        if innermost.co_filename.startswith(OURS) and innermost.co_name != shapes_of.__name__:
            raise
        said, kind = explained(error)
        place = _place(frames)
        raise kind(f"{name}: {place}, traced by JAX, {said}" if place else f"{name}: {expected}{said}") from error


def explained(error: BaseException) -> tuple[str, type[Exception]]:
    """What an exception under a trace means and how to mend it, and its kind."""
    message = str(error).strip().split("\n")[0].rstrip(".")[:300]
    if isinstance(error, jax.errors.TracerBoolConversionError):
        return "branches on a value that is not known yet; write the branch as jnp.where or jax.lax.cond", TypeError
    if isinstance(error, jax.errors.TracerArrayConversionError):
        return "gives an array to NumPy, which cannot take what is traced; call jax.numpy instead", TypeError
    unknown = jax.errors.ConcretizationTypeError, jax.errors.TracerIntegerConversionError
    if isinstance(error, (*unknown, jax.errors.NonConcreteBooleanIndexError)):
        return (
            "needs the value of an array where only its shape is known (float(x), int(x), a size or mask that depends "
            "on it); keep to jax.numpy on whole arrays",
            TypeError,
        )
    if isinstance(error, TypeError):
        return f"fails with: {message}", TypeError
    return f"raises {type(error).__name__}: {message}", ValueError


def _frames(error: Exception) -> list[tuple[FrameType, int]]:
    trace, frames = error.__traceback__, []
    while trace is not None:
        frames.append((trace.tb_frame, trace.tb_lineno))
        trace = trace.tb_next
    return frames


def _place(frames: list) -> str:
    """The function, file and line of the user's innermost frame, "" if there is none: a call that did not succeed."""
    users = [(frame.f_code, line) for frame, line in frames if not frame.f_code.co_filename.startswith(MACHINERY)]
    if not users:
        return ""
    code, line = users[-1]
    return f"{code.co_name} ({Path(code.co_filename).name}, line {line})"
