"""What the numbers were measured on: processor, cores, device and its peak rate, versions, commit, date."""

import functools
import importlib.metadata
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jax

from sgdsde.experiment import provenance

__all__ = ["machine", "roofline", "vector_flags"]

ROOT = Path(__file__).resolve().parents[2]
PEERS = ("diffrax", "equinox", "optax", "torch", "torchsde")
INSTRUCTIONS_PER_CHAIN_STEP = 150
LANES_PER_MULTIPROCESSOR = 128


def machine() -> dict[str, Any]:
    """Everything that says where and with what a benchmark was made; no path of the machine and no host name."""
    return {
        "date": provenance.now(),
        **provenance.commit(ROOT),
        "processor": processor(),
        "processor_flags": cpu_flags(),
        **provenance.environment(),
        "versions": versions(),
    }


def processor() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", _cpuinfo(), re.MULTILINE)
    return found[1] if found else platform.processor() or platform.machine()


@functools.cache
def cpu_flags() -> list[str]:
    found = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", _cpuinfo(), re.MULTILINE)
    return found[1].split() if found else []


def vector_flags() -> list[str]:
    """The processor's vector instructions, as the system names them."""
    return [flag for flag in cpu_flags() if re.match(r"(avx|fma|sse4|sve|asimd|neon)", flag)]


def versions() -> dict[str, str]:
    found = dict(provenance.versions())
    for package in PEERS:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "absent"
    found["gcc"] = _first_line("gcc", "-dumpfullversion") or "absent"
    return found


def roofline() -> dict[str, Any] | None:
    """Chain-steps per second of a loop bound by arithmetic alone: the chip's rate over the instructions of each.

    multiprocessors x 128 lanes x clock / 150. None on a CPU, or where the GPU does not tell its clock.
    """
    if jax.default_backend() != "gpu":
        return None
    num_multiprocessors = getattr(jax.local_devices()[0], "core_count", None)
    clock = _first_line("nvidia-smi", "--query-gpu=clocks.max.sm", "--format=csv,noheader,nounits")
    if not num_multiprocessors or clock is None or not clock.strip().isdigit():
        return None
    instructions = num_multiprocessors * LANES_PER_MULTIPROCESSOR * float(clock) * 1e6
    return {
        "num_multiprocessors": num_multiprocessors,
        "clock_mhz": float(clock),
        "instructions_per_second": instructions,
        "instructions_per_chain_step": INSTRUCTIONS_PER_CHAIN_STEP,
        "chain_steps_per_second": instructions / INSTRUCTIONS_PER_CHAIN_STEP,
    }


def _cpuinfo() -> str:
    file = Path("/proc/cpuinfo")
    return file.read_text() if file.is_file() else ""


def _first_line(*command: str) -> str | None:
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    return lines[0] if done.returncode == 0 and lines else None
