"""Stochastic collapse: multiplicative noise that vanishes on an invariant set may hold every solution there.

One parameter, Ito, growth mu and noise strength z:

    dx = -(x^3 - mu x) dt + z x dW.

x never changes its sign, and d log|x| = (mu - z^2/2 - x^2) dt + z dW: it collapses to 0 iff z^2 > 2 mu, although
x = 0 is a maximum of the loss x^4/4 - mu x^2/2 when mu > 0. Otherwise x^2 has the gamma law of shape
mu/z^2 - 1/2 and scale z^2. All functions are traceable, in JAX's default float type.

Source: Chen, Kunin, Yamamura, Ganguli 2023 (2306.04251).
"""

import jax.numpy as jnp
from jax import Array
from jax.scipy.special import gammainc, gammaln
from jax.typing import ArrayLike

from sgdsde.predictions.requirements import array, is_finite, require, require_broadcast, stationary

__all__ = [
    "collapse_density",
    "collapse_noise_strength",
    "collapse_second_moment",
    "collapsed_fraction",
    "neuron_collapse_learning_rate",
]


def collapse_density(points: ArrayLike, *, growth: ArrayLike, noise_strength: ArrayLike) -> Array:
    """Stationary density at x = `points`, |x|^(2 mu/z^2 - 2) exp(-x^2/z^2) / (z^(2a) Gamma(a)), a = mu/z^2 - 1/2.

    mu = `growth`, z = `noise_strength`. Normalised over the whole line and even; a chain stays on its side of 0, where
    the density is twice this. Infinite at x = 0 where z^2 > mu. Raises ValueError where z^2 >= 2 mu: the law is then a
    point mass at 0 (NaN under a trace).
    """
    shape, scale = _gamma_law(growth, noise_strength)
    x = jnp.abs(array("points", points))
    require_broadcast(points=x, growth=shape)
    safe = jnp.where(shape > 0, shape, 1.0)
    log_density = (2 * safe - 1) * jnp.log(x) - x**2 / scale - safe * jnp.log(scale) - gammaln(safe)
    log_density = jnp.where(jnp.isinf(x), -jnp.inf, log_density)
    log_density = jnp.where((x == 0) & (safe == 0.5), -safe * jnp.log(scale) - gammaln(safe), log_density)
    return stationary(
        shape > 0,
        jnp.exp(log_density),
        lambda: f"noise_strength: collapsed, no density where z^2 >= 2 growth = {2 * growth}, got z = {noise_strength}",
    )


def collapsed_fraction(threshold: ArrayLike, *, growth: ArrayLike, noise_strength: ArrayLike) -> Array:
    """Stationary P(|x| < threshold): the regularised incomplete gamma function P(mu/z^2 - 1/2, threshold^2/z^2).

    1 where z^2 >= 2 mu. Just below that every fraction is reached while the law is still a density.
    """
    threshold = array("threshold", threshold, above=0.0)
    shape, scale = _gamma_law(growth, noise_strength)
    require_broadcast(threshold=threshold, growth=shape)
    below = gammainc(jnp.where(shape > 0, shape, 1.0), threshold**2 / scale)
    return jnp.where(jnp.isnan(shape), jnp.nan, jnp.where(shape > 0, below, 1.0))


def collapse_second_moment(*, growth: ArrayLike, noise_strength: ArrayLike) -> Array:
    """Stationary E x^2 = max(mu - z^2/2, 0), from E d log|x| = 0; Euler's scheme in log|x| has it at any step."""
    shape, scale = _gamma_law(growth, noise_strength)
    return jnp.maximum(shape * scale, 0)


def collapse_noise_strength(growth: ArrayLike) -> Array:
    """z = sqrt(2 mu), above which everything collapses; `growth` mu >= 0."""
    return jnp.sqrt(2 * array("growth", growth, at_least=0.0))


def neuron_collapse_learning_rate(inputs: ArrayLike, labels: ArrayLike, *, label_variance: ArrayLike) -> Array:
    """Learning rate eta above which a neuron f = w2 tanh(w1 x) under label noise collapses to w = 0:

        eta zeta^2 / 2 = sum x y / sum x^2.

    Loss mean (f - y)^2 / 2 **with the half**; SDE dw = -grad L dt + sqrt(eta zeta^2 mean grad f grad f^T) dW (Ito),
    the label of one random example a step being moved by noise of variance zeta^2 = `label_variance`; with a batch put
    eta / B. inputs and labels (n,), with sum x y > 0. Near 0, where f = w1 w2 x, the noise is one number for both
    weights and w1 +- w2 decouple: with b = mean x y and s^2 = eta zeta^2 mean x^2

        d log|w1 + w2| = (b - s^2/2) dt + s dW,     d log|w1 - w2| = (-b - s^2/2) dt - s dW,

    so that 0 attracts iff s^2/2 > b. Any activation of slope 1 and curvature 0 at 0 has the same threshold. Traceable.
    """
    label_variance = array("label_variance", label_variance, above=0.0)
    x, y = array("inputs", inputs), array("labels", labels)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"inputs and labels: expected the same shape (n,), got {x.shape} and {y.shape}")
    product = require("labels", jnp.sum(x * y), lambda number: number > 0, "a positive sum of inputs times labels")
    return 2 * product / (label_variance * jnp.sum(x**2))


def _gamma_law(growth, noise_strength):
    """Shape and scale of the law of x^2; a shape that is not positive means collapse."""
    growth = require("growth", growth, is_finite, "finite")
    growth, scale = array("growth", growth), array("noise_strength", noise_strength, above=0.0) ** 2
    require_broadcast(growth=growth, noise_strength=scale)
    return growth / scale - 0.5, scale
