"""NumPy: a Python loop over the steps, gradient by hand, every array written in place; one core."""

import numpy as np

from scripts.peers.program import Program, Run

__all__ = ["PROGRAMS"]


def prepare(work, num_chains: int) -> Run:
    step, amplitude = np.float32(work.step), np.float32(work.amplitude * work.step**0.5)
    begin = np.asarray(work.start())

    def run(seed, num_steps):
        generator = np.random.Generator(np.random.SFC64(seed))  # the fastest of NumPy's own
        x = np.tile(begin, (num_chains, 1))
        normals, drift = np.empty_like(x), np.empty_like(x)
        for _ in range(num_steps):
            generator.standard_normal(dtype=np.float32, out=normals)
            np.multiply(x, x, out=drift)
            drift -= 1
            drift *= x
            drift *= 4 * step
            normals *= amplitude
            x -= drift
            x += normals
        return x

    return run


PROGRAMS = (Program("NumPy", prepare, ("double_well",)),)
