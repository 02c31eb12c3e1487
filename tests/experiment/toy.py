"""The mean of normal draws is the mean they were drawn with.   A toy for the tests of the runner.

Nothing is simulated; `trouble` makes one part of the file misbehave.

Source: the mean <x>, by
definition. Command: `sgdsde run toy`.

What it does not say: two scales <3, one seed.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp

from sgdsde import style
from sgdsde.experiment import Check


@dataclass(frozen=True)
class Config:
    mean: float = 1.0
    """mean of the draws"""
    scales: tuple[float, ...] = (1.0, 2.0)
    """standard deviations of the draws"""
    num_draws: int = 100_000
    """draws for each scale"""
    is_shifted: bool = False
    """predict another mean than the one drawn with"""
    trouble: Literal[
        "none", "run", "compute", "missing", "mistake", "untraceable", "interrupt", "checks", "plot", "wait", "large"
    ] = "none"
    seed: int = 0


SMOKE = Config(num_draws=100)
SEE = "the mean at scale 2 is {mean at scale 2} of {mean at scale 2 | predicted}, within {mean at scale 2 | within}"
DIMENSIONS = {"means": ("scale",), "errors": ("scale",)}


def run(config, key):
    is_traced = isinstance(key, jax.core.Tracer)
    if config.trouble == "run":
        raise RuntimeError("the run is broken")
    if config.trouble == "compute" and not is_traced:
        raise RuntimeError("the computation is broken")
    if config.trouble == "missing" and not is_traced:
        raise FileNotFoundError("the input is missing")
    if config.trouble == "interrupt" and not is_traced:
        raise KeyboardInterrupt
    if config.trouble == "mistake":
        Check("name", 1.0, 1.0, -1.0, 0.1, "agree", "source")
    scale = jnp.array(config.scales)
    draws = config.mean + scale[None, :] * jax.random.normal(key, (config.num_draws, 1))
    if config.trouble == "untraceable":
        float(draws[0, 0])
    arrays = {
        "scale": scale,
        "means": draws.mean(0),
        "errors": draws.std(0) / config.num_draws**0.5,
        "count": jnp.array(config.num_draws),
    }
    return arrays | ({"noise": jax.random.normal(key, (600_000,))} if config.trouble == "large" else {})


def checks(config, arrays):
    if config.trouble == "checks":
        raise ZeroDivisionError("the checks are broken")
    if config.trouble == "wait":
        Path("waiting").touch()
        time.sleep(60)
    predicted = config.mean + config.is_shifted
    return [
        Check(f"mean at scale {scale:g}", mean, predicted, error, 0.1, "agree", "definition")
        for scale, mean, error in zip(arrays["scale"], arrays["means"], arrays["errors"])
    ]


def plot(config, arrays):
    if config.trouble == "plot":
        raise ZeroDivisionError("the plot is broken")
    figure, axes = style.figure()
    axes.errorbar(arrays["scale"], arrays["means"], arrays["errors"], **style.line("SGD"), label="SGD")
    axes.axhline(config.mean, **style.line("theory"), label="theory")
    axes.set(xlabel="standard deviation of the draws", ylabel="mean")
    axes.legend()
    return figure
