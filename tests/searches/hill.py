"""A valley whose bottom is known.   A toy for the tests of the search: loss = log(rate/0.1)^2 + (size - 8)^2/64.

With a file `hang` in the current folder the checks of a trial never end, and say in a file `waiting` that they began.
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
    rate: float = 1.0
    size: int = 8
    scales: tuple[float, ...] = (1.0, 2.0)
    kind: Literal["plain", "worse"] = "plain"
    noise: float = 0.0
    is_odd: bool = False
    seed: int = 0

    def __post_init__(self):
        if isinstance(self.size, int) and self.size > 64:
            raise ValueError("size must be at most 64")


SMOKE = Config(noise=0.5)


def run(config, key):
    if config.size == 13:
        raise RuntimeError("an unlucky size")
    distance = jnp.log(config.rate / 0.1) ** 2 + (config.size - 8) ** 2 / 64.0
    draw = jnp.sin(jax.random.key_data(key)[-1].astype(float))  # another one for each seed, and quickly compiled
    loss = distance + 1.0 * (config.kind == "worse") + config.noise * draw
    return {
        "loss": loss,
        "broken": jnp.where(config.rate > 1.0, jnp.nan, distance),
        "profile": loss + jnp.arange(3.0),
        "seed_seen": jnp.asarray(config.seed, float),
        "many": jnp.zeros(config.size),
        "total": jnp.sum(jnp.stack(config.scales)),
    }


def checks(config, arrays):
    if Path("hang").exists() and any(Path("runs").rglob("journal.log")):
        Path("waiting").touch()
        time.sleep(60)
    return [
        Check(f"loss at size {config.size}", arrays["loss"], 0.0, 0.0, 1.0, "agree", "definition"),
        Check("odd", float(config.seed), 0.0, 0.0, 1.0, "agree", "definition"),
    ]


def plot(config, arrays):
    figure, axes = style.figure()
    axes.plot(arrays["profile"])
    return figure
