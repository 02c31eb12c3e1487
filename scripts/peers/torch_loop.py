"""PyTorch by hand: a Python loop over the steps, gradient by hand, every tensor written in place; all cores, or the GPU
where JAX has one too."""

import importlib
from typing import Any

import jax
import numpy as np

from scripts.peers.program import Program, Run, unless_imports

__all__ = ["PROGRAMS", "absence", "device"]


def prepare(work, num_chains: int) -> Run:
    torch: Any = importlib.import_module("torch")
    where, step, amplitude = device(torch), work.step, work.amplitude * work.step**0.5
    begin = torch.from_numpy(np.array(work.start())).to(where)

    def run(seed, num_steps):
        torch.manual_seed(seed)
        with torch.inference_mode():
            x = begin.repeat(num_chains, 1)
            normals, drift = torch.empty_like(x), torch.empty_like(x)
            for _ in range(num_steps):
                normals.normal_()
                torch.mul(x, x, out=drift)
                drift.sub_(1).mul_(x)
                x.sub_(drift, alpha=4 * step).add_(normals, alpha=amplitude)
            return x.cpu().numpy()

    return run


def device(torch: Any) -> str:
    return "cuda" if jax.default_backend() == "gpu" and torch.cuda.is_available() else "cpu"


def absence() -> str | None:
    return unless_imports("torch", "PyTorch", ".venv/bin/python -m pip install -e '.[bench]'")


PROGRAMS = (Program("PyTorch by hand", prepare, ("double_well",), absence),)
