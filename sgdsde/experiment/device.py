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
        ExperimentError: JAX has no such device.
    """
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
    settings: Any = jax.config  # whose attributes older type stubs do not list
    if not settings.jax_compilation_cache_dir:  # JAX_COMPILATION_CACHE_DIR has the last word
        cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "sgdsde" / "xla"
        with contextlib.suppress(OSError):  # a home that cannot be written: no cache, no harm
            cache.mkdir(parents=True, exist_ok=True)
            jax.config.update("jax_compilation_cache_dir", str(cache))
