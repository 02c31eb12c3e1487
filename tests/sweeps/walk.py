"""SGD on a quadratic beside its SDE.   A small experiment that really simulates, for the tests of sweeps."""

from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp

from sgdsde import Check, landscapes, match, noise, sgd, simulate, style
from sgdsde.predictions import sgd_covariance


@dataclass(frozen=True)
class Config:
    learning_rate: float = 0.1
    """step size"""
    curvatures: tuple[float, ...] = (1.0, 0.5)
    """of the quadratic"""
    batch_size: int = 2
    """examples in a minibatch"""
    law: Literal["sgd", "sde"] = "sgd"
    """which dynamics"""
    num_steps: int = 20
    """steps"""
    num_chains: int = 4
    """chains"""
    explodes: float = 0.0
    """above 1 every chain diverges"""
    seed: int = 0

    def __post_init__(self):
        if self.num_steps % 10:
            raise ValueError(f"num_steps must be a multiple of 10, got {self.num_steps}")


SMOKE = Config(num_steps=10)
DIMENSIONS = {"step": ("step",), "square": ("step", "coordinate"), "last": ("coordinate",)}


def square(params):
    return params**2


def run(config, key):
    problem = landscapes.quadratic(
        jnp.diag(jnp.stack(list(map(jnp.asarray, config.curvatures)))),
        gradient_covariance=jnp.eye(len(config.curvatures)),
        num_examples=8,
    )
    dynamics = sgd(
        problem, learning_rate=config.learning_rate, batch_size=config.batch_size, sampling="with_replacement"
    )
    if config.law == "sde":
        dynamics = match(dynamics, noise.anisotropic, substeps=2)
    sizes = {"num_steps": config.num_steps, "num_chains": config.num_chains, "every": 10}
    start = jnp.zeros(len(config.curvatures))
    trajectory = simulate(dynamics, start, key, observe=square, average=True, **sizes)
    means = jnp.where(config.explodes > 1, jnp.nan, trajectory.observed[0])
    return {"step": trajectory.step, "square": means, "last": means[-1], "total": means[-1].sum()}


def checks(config, arrays):
    law = sgd_covariance(
        jnp.diag(jnp.array(config.curvatures)),
        jnp.eye(len(config.curvatures)) / config.batch_size,
        learning_rate=config.learning_rate,
    )
    predicted = float(jnp.trace(law))
    return [Check(f"at rate {config.learning_rate:g}", arrays["total"], predicted, 0.1, 1.0, "agree", "exact law")]


def plot(config, arrays):
    figure, axes = style.figure()
    axes.plot(arrays["step"], arrays["square"])
    return figure
