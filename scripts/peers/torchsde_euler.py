"""torchsde: `sdeint(method="euler")` with its default Brownian motion, gradient by hand. Time is counted in steps."""

import importlib
from typing import Any

import numpy as np

from scripts.peers import torch_loop
from scripts.peers.program import Program, Run, unless_imports

__all__ = ["PROGRAMS"]


class DoubleWell:
    """The drift f and the diffusion g, in the names that torchsde asks for."""

    noise_type, sde_type = "diagonal", "ito"

    def __init__(self, torch: Any, step: float, amplitude: float):
        self.torch, self.step, self.amplitude = torch, step, amplitude

    def f(self, t, x):
        return -4 * self.step * x * (x * x - 1)

    def g(self, t, x):
        return self.torch.full_like(x, self.amplitude)


def prepare(work, num_chains: int) -> Run:
    torch: Any = importlib.import_module("torch")
    torchsde: Any = importlib.import_module("torchsde")
    equation = DoubleWell(torch, work.step, work.amplitude * work.step**0.5)
    begin = torch.from_numpy(np.array(work.start())).to(torch_loop.device(torch)).repeat(num_chains, 1)

    def run(seed, num_steps):
        np.random.seed(seed)  # noqa: NPY002 its Brownian motion takes its entropy from there
        torch.manual_seed(seed)
        times = torch.tensor([0.0, float(num_steps)], device=begin.device)
        with torch.no_grad():
            return torchsde.sdeint(equation, begin, times, method="euler", dt=1.0)[-1].cpu().numpy()

    return run


def absence() -> str | None:
    return unless_imports("torchsde", "torchsde", ".venv/bin/python -m pip install -e '.[bench]'")


PROGRAMS = (Program("torchsde", prepare, ("double_well",), absence, max_chains=65_536),)
