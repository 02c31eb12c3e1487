"""Precision, device and compilation cache of a run, settled before any array exists."""

import contextlib
import os
from pathlib import Path
from typing import Any

import jax

from sgdsde.experiment.folders import ExperimentError


def choose_device(*, float64: bool, device: str | None) -> None:
    """Set precision, device and the persistent compilation cache, before any array exists.

    Raises:
        ExperimentError: JAX has no such device, or its settings in the environment allow no computation.
    """
    settings: Any = jax.config  # whose attributes older type stubs do not list
    if settings.jax_disable_jit:
        raise ExperimentError("JAX_DISABLE_JIT is set, but everything here is compiled; unset it.")
    if float64:
        jax.config.update("jax_enable_x64", True)
    if device == "cpu":
        jax.config.update("jax_platforms", "cpu")  # an accelerator beside it is not even initialised
    elif device is not None:
        try:
            jax.config.update("jax_default_device", jax.devices(device)[0])
        except RuntimeError as error:
            extra = "cuda" if device == "gpu" else device
            raise ExperimentError(
                f"--device {device}: JAX finds none on this machine, only {jax.default_backend()}. "
                f"Install the project with its extra `{extra}`, or leave --device out."
            ) from error
    if not settings.jax_compilation_cache_dir:  # JAX_COMPILATION_CACHE_DIR has the last word
        with contextlib.suppress(OSError, RuntimeError):  # no home, or one that cannot be written: no cache, no harm
            cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "sgdsde" / "xla"
            cache.mkdir(parents=True, exist_ok=True)
            jax.config.update("jax_compilation_cache_dir", str(cache))
    try:
        jax.devices()
    except RuntimeError as error:
        named = settings.jax_platforms
        raise ExperimentError(
            f"JAX finds no device{f' for JAX_PLATFORMS={named}' if named else ''}: {' '.join(str(error).split())}."
        ) from error


def join_hosts(where: str) -> None:
    """Make this process one of several that share all their devices: `HOST:PORT,COUNT,PLACE` names the first one's
    address, how many there are and which this is; an empty text leaves all that to the cluster's environment.

    Raises:
        ExperimentError: the text cannot be read, or the hosts do not find each other.
    """
    address, count, place = (None, None, None) if not where else _three(where)
    settings: Any = jax.config
    if settings.jax_platforms in (None, "", "cpu"):
        jax.config.update("jax_cpu_collectives_implementation", "gloo")  # without it CPUs of several hosts cannot talk
    try:
        jax.distributed.initialize(address, count, place)
    except (RuntimeError, ValueError, TypeError) as error:
        raise ExperimentError(
            f"--distributed: {error}. Outside of a cluster that JAX knows, write --distributed HOST:PORT,COUNT,PLACE."
        ) from error


def _three(where: str) -> tuple[str, int, int]:
    parts = where.split(",")
    if len(parts) != 3 or ":" not in parts[0] or not (parts[1].isdigit() and parts[2].isdigit()):
        raise ExperimentError(f"--distributed: expected HOST:PORT,COUNT,PLACE such as node0:9876,2,0, got {where!r}.")
    if not int(parts[2]) < int(parts[1]):
        raise ExperimentError(f"--distributed: PLACE counts from 0 to {int(parts[1]) - 1}, got {parts[2]}.")
    return parts[0], int(parts[1]), int(parts[2])
