"""Deep linear networks W_N ... W_1 learning a linear map: how modes grow, where learning pauses, what SGD conserves.

Convention: the loss is mean |y - W_N ... W_1 x|^2 / 2, **with the half**, with mean x x^T = I and a map of singular
values s_i. From a balanced start along its singular vectors, W_(l+1)^T W_(l+1) = W_l W_l^T, the strength u of every
mode obeys an equation of its own under gradient flow,

    du/dt = N u^(2 - 2/N) (s - u),

with t the sum of learning rates, s = `target`, u(0) = `start`, N = `num_layers`. Gradient descent of rate eta is
Euler's method for one layer's weight u^(1/N), of speed f = u^(1 - 1/N) (s - u), and so to first order late by
(eta/2) log(f(u)/f(u(0))). Strengths and times run on the host in float64 and refuse tracers; the other functions are
traceable.

Source: Saxe, McClelland, Ganguli 2014 (1312.6120) for two layers; Arora, Cohen, Hazan 2018 (1802.06509) for N.
"""

import itertools
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from scipy.special import hyp2f1

from sgdsde.predictions.requirements import (
    array,
    count,
    number,
    on_host,
    require,
    require_broadcast,
    require_positive,
)

__all__ = [
    "balance_changes",
    "half_learning_time",
    "learning_time",
    "mode_noise",
    "mode_noise_peak",
    "mode_strength",
    "plateau_losses",
    "saddle_loss",
]


def mode_strength(times: ArrayLike, *, target: ArrayLike, start: ArrayLike, num_layers: int) -> np.ndarray:
    """u(t) at the times t >= 0, broadcast with target > 0 and start > 0 (or start = 0 for one layer).

    One layer: s + (u(0) - s) e^(-t). Two: s e^(2st) / (e^(2st) - 1 + s/u(0)). More: `learning_time` inverted by
    bisection, to rounding. Raises ValueError naming the argument.
    """
    times, target, start = _strengths(num_layers, times=times, target=target, start=start)
    require("times", times, lambda t: (t >= 0) & np.isfinite(t), "finite times, 0 or later")
    if num_layers == 1:
        return np.asarray(target + (start - target) * np.exp(-times))
    if num_layers == 2:
        return np.asarray(target / (1 + (target / start - 1) * np.exp(-2 * target * times)))
    low, high = np.log(start / target), np.zeros(times.shape)  # of log(u/s), the start and the target
    for _ in range(64):
        middle = (low + high) / 2
        is_before = _elapsed(np.exp(middle), start / target, target, num_layers) < times
        low, high = np.where(is_before, middle, low), np.where(is_before, high, middle)
    return np.asarray(target * np.exp(high))


def learning_time(strength: ArrayLike, *, target: ArrayLike, start: ArrayLike, num_layers: int) -> np.ndarray:
    """The time t at which u(t) = strength, broadcast with target > 0 and start > 0; infinite at the target.

    With v = u/s and p = 2 - 2/N, t = [Z(v) - Z(v(0))] / (N s^p), where dZ/dv = v^(-p) / (1 - v):

        Z(v) = v^(1-p)/(1-p) 2F1(1, 1-p; 2-p; v) for v < 1,    v^(-p)/p 2F1(1, p; 1+p; 1/v) for v > 1,

    and log(v/|1-v|) for two layers, -log|1-v| for one. Raises ValueError for a strength that is not between start and
    target.
    """
    strength, target, start = _strengths(num_layers, strength=strength, target=target, start=start)
    low, high = np.minimum(start, target), np.maximum(start, target)
    if not np.all((strength >= low - 1e-12 * high) & (strength <= high * (1 + 1e-12))):
        raise ValueError(f"strength: expected from start = {start} to target = {target}, got {strength}")
    strength = np.clip(strength, low, high)  # a start that came out of `mode_strength` has been rounded
    return _elapsed(strength / target, start / target, target, num_layers)


def half_learning_time(*, target: ArrayLike, start: ArrayLike, num_layers: int) -> np.ndarray:
    """The time at which a mode has half of its target, `learning_time` at target/2; start is below that."""
    target = on_host("target", target)
    require("target", target, lambda s: (s > 0) & np.isfinite(s), "finite and positive")
    if not np.all(on_host("start", start) <= target / 2):
        raise ValueError(f"start: expected at most half of target = {target}, got {start}")
    return learning_time(target / 2, target=target, start=start, num_layers=num_layers)


def saddle_loss(targets: ArrayLike, is_learnt: ArrayLike) -> Array:
    """The loss at the saddle (or minimum) where the modes with is_learnt have their targets s_i and the others are 0:
    half the sum of s_i^2 over the modes that are not learnt. targets, is_learnt: (k,)."""
    targets, is_learnt = _targets(targets), jnp.asarray(is_learnt)
    if is_learnt.shape != targets.shape or is_learnt.dtype != bool:
        raise ValueError(
            f"is_learnt: expected truth values of the shape of targets, {targets.shape}, got {is_learnt.dtype}"
            f"{list(is_learnt.shape)}"
        )
    return jnp.sum(jnp.where(is_learnt, 0, targets**2)) / 2


def plateau_losses(targets: ArrayLike) -> Array:
    """Losses of the k + 1 saddles visited when k modes are learnt one by one, the strongest first: the first entry is
    the loss with nothing learnt, half the sum of all s_i^2, the last is 0."""
    squares = jnp.sort(_targets(targets)) ** 2 / 2
    return jnp.concatenate([jnp.zeros(1, squares.dtype), jnp.cumsum(squares)])[::-1]


def mode_noise(
    strength: ArrayLike, *, target: ArrayLike, num_layers: int, label_variance: ArrayLike
) -> dict[str, Array]:
    """What one example's gradient does to a mode of a balanced network on Gaussian inputs, as variances.

        "weights": V = N u^(2 - 2/N) (2 (s - u)^2 + label_variance)
        "strength": N u^(2 - 2/N) V

    "weights": the trace of Sigma over the mode's own N weights, one a layer, each u^(1/N); "strength": the noise in the
    rate of u itself. A minibatch has 1/B of both. The 2 is Var x^2 for x ~ N(0, 1). Which of the two is meant decides
    whether noise peaks before or after half of the target is learnt: see `mode_noise_peak`. Source: Corlouer et al.
    2026 (2604.06366) for the question; derived here.
    """
    num_layers = count("num_layers", num_layers, at_most=10**6)
    strength, target = array("strength", strength, at_least=0.0), array("target", target, at_least=0.0)
    label_variance = array("label_variance", label_variance, at_least=0.0)
    require_broadcast(strength=strength, target=target, label_variance=label_variance)
    squared_length = num_layers * strength ** (2 - 2 / num_layers)
    variance = squared_length * (2 * (target - strength) ** 2 + label_variance)
    return {"weights": variance, "strength": squared_length * variance}


def mode_noise_peak(*, target: ArrayLike, num_layers: int) -> dict[str, Array]:
    """The strengths at which both variances of `mode_noise` are largest, without label noise:

    "weights": s (N - 1)/(2N - 1), always before half of the target; "strength": s (2N - 2)/(3N - 2), half of it for
    two layers and later for more, but before two thirds.
    """
    n, target = count("num_layers", num_layers, at_most=10**6), array("target", target, above=0.0)
    return {"weights": target * (n - 1) / (2 * n - 1), "strength": target * (2 * n - 2) / (3 * n - 2)}


def balance_changes(gradients: Sequence[ArrayLike], *, learning_rate: ArrayLike) -> tuple[Array, ...]:
    """What one step W_l' = W_l - eta g_l adds to each balance W_(l+1)^T W_(l+1) - W_l W_l^T, exactly:

        eta^2 (g_(l+1)^T g_(l+1) - g_l g_l^T),    l = 1, ..., N - 1,

    for the gradients (g_1, ..., g_N) of *any* loss of the product, a minibatch's too, at the parameters before the
    step: the terms of first order cancel, so that gradient flow conserves the balances. With P = W_2 W_1, G = dL/dP, it
    is eta^2 (W_1 G^T G W_1^T - W_2^T G G^T W_2); for scalars (u^2 - w^2)' = (u^2 - w^2)(1 - eta^2 G^2) (Ziyin et al.
    2023, 2308.06671).
    """
    eta = number("learning_rate", learning_rate, above=0.0)
    if not isinstance(gradients, list | tuple) or not gradients:
        raise TypeError(f"gradients: expected a sequence (g_1, ..., g_N) of matrices, got {type(gradients).__name__}")
    layers = [array(f"gradients[{place}]", gradient) for place, gradient in enumerate(gradients)]
    shapes = [layer.shape for layer in layers]
    if not all(len(shape) == 2 for shape in shapes) or any(a[0] != b[1] for a, b in itertools.pairwise(shapes)):
        raise ValueError(
            f"gradients: expected matrices, each with as many columns as the one before has rows, got {shapes}"
        )
    eta = jnp.asarray(eta, layers[0].dtype)
    outer = lambda first, second: jnp.matmul(first, second, precision="highest")
    return tuple(eta * (eta * (outer(b.T, b) - outer(a, a.T))) for a, b in itertools.pairwise(layers))


def _targets(targets):
    targets = array("targets", targets, at_least=0.0)
    if targets.ndim != 1:
        raise ValueError(f"targets: expected shape (k,), one singular value a mode, got {targets.shape}")
    return targets


def _strengths(num_layers, **arguments):
    """The arguments on the host, broadcast together; target and start positive (a single layer may start at 0)."""
    count("num_layers", num_layers, at_most=10**6)
    arrays = {name: on_host(name, value) for name, value in arguments.items()}
    require_positive("target", arrays["target"])
    require_broadcast(**arrays)
    least = 0.0 if num_layers == 1 else np.nextafter(0, 1)
    require("start", arrays["start"], lambda u: (u >= least) & np.isfinite(u), "positive strengths: 0 is a saddle")
    return np.broadcast_arrays(*arrays.values())


def _elapsed(fraction, start_fraction, target, num_layers):
    """The time from one fraction u/s of the target to another, both on the same side of it."""
    power = 2 - 2 / num_layers
    with np.errstate(divide="ignore"):
        passed = _antiderivative(fraction, power) - _antiderivative(start_fraction, power)
    return np.asarray(np.where(fraction == start_fraction, 0, passed) / (num_layers * target**power))


def _antiderivative(v, power):
    """Z(v) of `learning_time`; infinite at 1."""
    if power == 0:
        return -np.log(np.abs(1 - v))
    if power == 1:
        return np.log(v / np.abs(1 - v))
    below, above = np.where(v < 1, v, 0.5), np.where(v > 1, v, 2.0)
    low = below ** (1 - power) / (1 - power) * hyp2f1(1, 1 - power, 2 - power, below)
    high = above**-power / power * hyp2f1(1, power, 1 + power, 1 / above)
    return np.where(v < 1, low, np.where(v > 1, high, np.inf))
