"""How a result was made: code, command, versions, device, cost. No path of the machine and no host name."""

import contextlib
import datetime
import importlib.metadata
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PACKAGES = ("sgdsde", "jax", "jaxlib", "numpy", "scipy", "optax", "diffrax", "xarray", "netCDF4")
OUTPUT_FOLDERS = ("runs", "results")


def environment() -> dict[str, Any]:
    """Versions, device and precision of this process; makes JAX choose its device."""
    import jax

    from sgdsde.devices import num_cores

    settings: Any = jax.config  # whose attributes older type stubs do not list
    device = settings.jax_default_device or jax.local_devices()[0]
    if isinstance(device, str):
        device = jax.local_devices(backend=device)[0]
    return {
        "platform": device.platform,
        "device": device.device_kind,
        "num_devices": jax.local_device_count(),
        "num_cores": num_cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "dtype": "float64" if settings.jax_enable_x64 else "float32",
        "random_numbers": _generator(settings),
        "versions": versions(),
    }


def _generator(settings: Any) -> str:
    """The generator behind `jax.random.key`, as its name and, where it is not the default, its variant."""
    variant = "" if settings.jax_threefry_partitionable else " not partitionable"
    return f"{settings.jax_default_prng_impl}{variant}"


def versions() -> dict[str, str]:
    """Version of Python and of each package that is installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit(folder: Path) -> dict[str, Any]:
    """`commit` and `dirty` of the git repository around a folder; both None outside of one.

    Files under results/ and runs/ do not make it dirty: they come from the code, and do not change what it computes.
    """
    head = _git(folder, "rev-parse", "HEAD")
    top = _git(folder, "rev-parse", "--show-toplevel")
    if top is None:
        return {"commit": None, "dirty": None}
    outputs = [f":(exclude,top,glob)**/{name}/**" for name in OUTPUT_FOLDERS]
    status = _git(Path(top), "status", "--porcelain", "--", ":/", *outputs)
    return {"commit": head, "dirty": status is None or bool(status)}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def command_line(arguments: Iterable[str], home: Path) -> str:
    """The command as anybody may type it: paths relative to `home` or the current folder, else their last part."""
    return " ".join(["sgdsde", *(shlex.quote(_relative(argument, home)) for argument in arguments)])


def _relative(argument: str, home: Path) -> str:
    flag, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
    path = Path(value)
    if not (value.startswith("~") or ".." in path.parts or path.is_absolute()):
        return argument
    with contextlib.suppress(RuntimeError):  # nobody's home is known
        path = path.expanduser()
    path = path.resolve()
    for folder in (home.resolve(), Path.cwd()):
        if path.is_relative_to(folder):
            return f"{flag}{equals}{path.relative_to(folder)}"
    return f"{flag}{equals}{path.name}"


def now() -> str:
    """The present time, UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def reset_peak_memory() -> None:
    """Start the measurement of peak memory afresh where the system can (Linux); elsewhere it covers the process."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> dict[str, float]:
    """Peak resident memory of this process, and of its device where the device tells, in MiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    peak = {"peak_memory_mib": round(_largest_resident_set() * unit / 2**20, 1)}
    if "jax" in sys.modules:
        try:
            statistics = sys.modules["jax"].local_devices()[0].memory_stats() or {}
        except Exception:  # a backend without statistics raises an error of its own
            statistics = {}
        if "peak_bytes_in_use" in statistics:
            peak["device_peak_memory_mib"] = round(statistics["peak_bytes_in_use"] / 2**20, 1)
    return peak


def _largest_resident_set() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
