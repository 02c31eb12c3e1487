"""A C program, `double_well.c`: fused and vectorised by hand for AVX-512, all cores; compiled when it is used, with
gcc, into a temporary folder that lasts as long as this process."""

import ctypes
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from scripts.benchmarking.machine import vector_flags
from scripts.peers.program import Program, Run
from sgdsde.devices import num_cores

__all__ = ["PROGRAMS", "absence"]

LANES = 16


def prepare(work, num_chains: int) -> Run:
    function, begin = compiled().double_well, np.asarray(work.start())
    padded = -(-num_chains // LANES) * LANES

    def run(seed, num_steps):
        x = np.full(padded, begin[0], np.float32)
        amplitude = ctypes.c_float(work.amplitude * work.step**0.5)
        pointer = x.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        sizes = ctypes.c_long(padded), ctypes.c_long(num_steps)
        function(pointer, *sizes, ctypes.c_float(work.step), amplitude, ctypes.c_uint32(seed), num_cores())
        return x[:num_chains, None]

    return run


@functools.cache
def compiled() -> ctypes.CDLL:
    """The library; raises RuntimeError with gcc's own words if it does not compile."""
    folder = temporary_folder()
    library = Path(folder.name) / "double_well.so"
    source = Path(__file__).with_name("double_well.c")
    command = ["gcc", "-O3", "-march=native", "-mavx512f", "-fopenmp", "-shared", "-fPIC", str(source), "-lm"]
    done = subprocess.run([*command, "-o", str(library)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"gcc could not compile double_well.c: {done.stderr.strip()[-300:]}")
    return ctypes.CDLL(str(library))


@functools.cache
def temporary_folder() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="sgdsde-")


def absence() -> str | None:
    if shutil.which("gcc") is None:
        return "no C compiler: gcc is not installed"
    if "avx512f" not in vector_flags():
        return "this processor has no AVX-512, which the program is written in"
    return None


PROGRAMS = (Program("C, AVX-512, all cores", prepare, ("double_well",), absence),)
