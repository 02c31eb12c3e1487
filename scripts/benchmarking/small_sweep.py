"""Variance and memory of a single SGD chain on a parabola, every step recorded, beside their exact values.

A small experiment, as people sweep them: what the benchmark of sweeps runs. x' = x - eta (h x + noise) of variance C/B
has the stationary variance eta C/(B h (2 - eta h)) and the correlation 1 - eta h from one step to the next.
"""

from dataclasses import dataclass

import jax.numpy as jnp

from sgdsde import Check, landscapes, sgd, simulate, style
from sgdsde.predictions import sgd_covariance


@dataclass(frozen=True)
class Config:
    learning_rate: float = 0.05
    """step size"""
    batch_size: int = 4
    """examples in a minibatch, drawn with replacement"""
    curvature: float = 1.0
    """of the parabola"""
    num_steps: int = 20_000
    """steps, all recorded; the second half is measured"""
    seed: int = 0


SMOKE = Config(num_steps=1_000)


def position(params):
    return params[0]


def run(config, key):
    hessian = jnp.reshape(jnp.asarray(config.curvature), (1, 1))
    problem = landscapes.quadratic(hessian, gradient_covariance=jnp.ones((1, 1)), num_examples=64)
    dynamics = sgd(
        problem, learning_rate=config.learning_rate, batch_size=config.batch_size, sampling="with_replacement"
    )
    sizes = {"num_steps": config.num_steps, "num_chains": 1, "every": 1}
    path = simulate(dynamics, jnp.zeros(1), key, observe=position, **sizes).observed[config.num_steps // 2 :, 0]
    centred = path - path.mean()
    variance = (centred**2).mean()
    return {"variance": variance, "correlation": (centred[1:] * centred[:-1]).mean() / variance}


def checks(config, arrays):
    rate = config.learning_rate
    law = sgd_covariance([[config.curvature]], [[1 / config.batch_size]], learning_rate=rate)
    memory = 1 - rate * config.curvature
    error = (2 * (1 + memory**2) / (1 - memory**2) / (config.num_steps / 2)) ** 0.5  # of the variance of such a chain
    source = "exact discrete law"
    return [
        Check("variance", arrays["variance"], law[0, 0], error * law[0, 0], 1.0, "agree", source),
        Check("correlation of two steps", arrays["correlation"], memory, error, 1.0, "agree", source),
    ]


def plot(config, arrays):
    figure, axes = style.figure()
    axes.bar(["variance", "correlation"], [arrays["variance"], arrays["correlation"]])
    axes.set_ylabel("of one chain")
    return figure
