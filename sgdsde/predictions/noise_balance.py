"""The law of noise balance: a linear model f = v x, or f = u w x with v = u w, under SGD and its Ito SDE.

The loss is (v x - y)^2 **without the half**, so that dl/dv = 2 (v x^2 - x y). With the moments of the examples

    a1 = Var x^2,   a2 = Cov(x^2, x y),   a3 = Var x y,   b1 = E x^2,   b2 = E x y      (divide by n, not n - 1)

the slope of one example has the mean 2 (b1 v - b2) and the variance 4 g(v), g = a1 v^2 - 2 a2 v + a3. The SDE with
T = learning_rate / batch_size (sampling with replacement; time = learning_rate * steps; Ito) is, for depth 0, f = v x,

    dv = -2 (b1 v - b2) dt + 2 sqrt(T g) dW,

and for depth 1 the one that u and w make together, on u = w, where every solution ends:

    dv = [-4 v (b1 v - b2) + 4 T g v] dt + 4 v sqrt(T g) dW,   v > 0.

Here T is a rate over a batch, not an energy. Source: Ziyin, Li, Ueda 2023 (2308.06671).
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from scipy.integrate import quad

from sgdsde.predictions.requirements import array, count, on_host, one_on_host, require, require_broadcast

__all__ = [
    "SlopeMoments",
    "balance_density",
    "balance_moment_identity",
    "collapse_temperature",
    "imbalance_decay_rate",
    "imbalance_factor",
    "slope_moments",
    "slope_variance",
]


class SlopeMoments(NamedTuple):
    """Moments of the examples (x, y) that decide the slope's mean and variance, in the letters of the paper:

    square_variance a1 = Var x^2, cross_covariance a2 = Cov(x^2, x y), product_variance a3 = Var x y,
    square_mean b1 = E x^2, product_mean b2 = E x y.
    """

    square_variance: ArrayLike
    cross_covariance: ArrayLike
    product_variance: ArrayLike
    square_mean: ArrayLike
    product_mean: ArrayLike


def slope_moments(inputs: ArrayLike, labels: ArrayLike) -> SlopeMoments:
    """The moments of a finite set of examples: inputs x and labels y, both (n,). Traceable."""
    x, y = array("inputs", inputs), array("labels", labels)
    if x.ndim != 1 or x.shape != y.shape or x.size == 0:
        raise ValueError(f"inputs and labels: expected the same shape (n,), got {x.shape} and {y.shape}")
    squares, products = x**2, x * y
    b1, b2 = jnp.mean(squares), jnp.mean(products)
    squares, products = squares - b1, products - b2
    return SlopeMoments(jnp.mean(squares**2), jnp.mean(squares * products), jnp.mean(products**2), b1, b2)


def slope_variance(strength: ArrayLike, moments: SlopeMoments) -> Array:
    """Variance of one example's slope dl/dv at v = `strength`: 4 g(v) = 4 (a1 v^2 - 2 a2 v + a3). Traceable."""
    a1, a2, a3, *_ = _moments(moments)
    v = array("strength", strength)
    require_broadcast(strength=v, moments=a1)
    variance = 4 * (a1 * v**2 - 2 * a2 * v + a3)
    return jnp.where(jnp.isinf(v) & (a1 > 0), jnp.inf, variance)  # no difference of infinities


def collapse_temperature(moments: SlopeMoments) -> Array:
    """T_c = b2 / a3: at depth 1 every solution of the SDE goes to v = 0 for T = learning_rate / batch_size above it.

    Near v = 0 d log v = 4 (b2 - T a3) dt + 4 sqrt(T a3) dW. Negative where inputs and labels are anticorrelated.
    Traceable.
    """
    *_, product_mean = _moments(moments)
    return product_mean / array("product_variance", moments.product_variance, above=0.0)


def imbalance_decay_rate(strength: ArrayLike, moments: SlopeMoments, *, temperature: ArrayLike) -> Array:
    """-d log(u^2 - w^2)/dt = 4 T g(v) of the Ito SDE, at v = u w = `strength` and T = `temperature`, per unit time.

    Path by path, not only on average: u and w share one noise. Were the same SDE read in the sense of Stratonovich,
    u^2 - w^2 would be conserved. Traceable.
    """
    temperature = array("temperature", temperature, above=0.0)
    require_broadcast(strength=array("strength", strength), temperature=temperature)
    return temperature * slope_variance(strength, moments)


def imbalance_factor(slope: ArrayLike, *, learning_rate: ArrayLike) -> Array:
    """(u^2 - w^2)' / (u^2 - w^2) = 1 - eta^2 G^2 of one step of SGD, exactly, G = `slope` of the minibatch's mean loss.

    u' = u - eta w G, w' = w - eta u G with G = dl/dv, for any loss of v = u w. Traceable.
    """
    slope, eta = array("slope", slope), array("learning_rate", learning_rate, above=0.0)
    require_broadcast(slope=slope, learning_rate=eta)
    return 1 - (eta * slope) ** 2


def balance_moment_identity(
    mean: ArrayLike, mean_square: ArrayLike, moments: SlopeMoments, *, temperature: ArrayLike
) -> Array:
    """T a1 E v^2 + (b1 - 2 T a2) E v - (b2 - T a3), which the stationary law of depth 1 makes zero (T below T_c).

    From E d log v = 0; mean = E v, mean_square = E v^2 (time averages of the SDE's own clock). Traceable.
    """
    a1, a2, a3, b1, b2 = _moments(moments)
    first, second = array("mean", mean), array("mean_square", mean_square)
    t = array("temperature", temperature, above=0.0)
    require_broadcast(mean=first, mean_square=second, temperature=t)
    return t * a1 * second + (b1 - 2 * t * a2) * first - (b2 - t * a3)


def balance_density(strengths: ArrayLike, moments: SlopeMoments, *, temperature: float, depth: int) -> np.ndarray:
    """Stationary density of v at `strengths`, normalised over the whole line (depth 0) or over v > 0 (depth 1).

    With T = `temperature`, Q = a1 a3 - a2^2 > 0 and t(v) = arctan((a1 v - a2)/sqrt Q),

        depth 0:  p ~ g^(-1 - b1/(2 T a1)) exp[-(a2 b1 - a1 b2) t/(T a1 sqrt Q)]
        depth 1:  p ~ v^(b2/(2 a3 T) - 3/2) g^(-1 - b2/(4 T a3)) exp[-(a3 b1 - a2 b2) t/(2 T a3 sqrt Q)],   v > 0.

    Depth 1 falls as v^(-7/2): E v^2 is finite, E v^3 is not; towards v = 0 it is infinite for T > T_c / 3. The density
    of log v is v p(v). Normalised by quadrature on the host, in float64; zero where depth 1 has no mass. Raises
    ValueError for depth 1 at or above `collapse_temperature`, where there is no density, and for Q <= 0.
    """
    a1, a2, a3, b1, b2 = (one_on_host(f"moments.{name}", value) for name, value in named_moments(moments).items())
    t, depth = one_on_host("temperature", temperature, above=0.0), count("depth", depth, at_least=0, at_most=1)
    v = on_host("strengths", strengths)
    require("moments", a1 * a3 - a2**2, lambda q: q > 0, "noise at every strength, Var x^2 Var xy > Cov(x^2, xy)^2")
    root = np.sqrt(a1 * a3 - a2**2)
    log_noise = lambda v: np.log(a1 * v**2 - 2 * a2 * v + a3)
    angle = lambda v: np.arctan((a1 * v - a2) / root)
    if depth == 0:
        tilt = (a2 * b1 - a1 * b2) / (t * a1 * root)
        free = lambda v: -(1 + b1 / (2 * t * a1)) * log_noise(v) - tilt * angle(v)
        # v = centre + width sinh s: power tails in v are exponential ones in s
        centre, width = b2 / b1, root / a1
        log_mass = _log_integral(lambda s: free(centre + width * np.sinh(s)) + np.log(width * np.cosh(s)))
        return np.exp(free(v) - log_mass)
    if not t * a3 < b2:
        raise ValueError(
            f"temperature: at depth 1 everything collapses to v = 0 at and above T_c = {b2 / a3:.6g}, got {t:.6g}"
        )
    tilt, power = (a3 * b1 - a2 * b2) / (2 * t * a3 * root), b2 / (2 * a3 * t) - 1.5

    def log_density(v, log_v):
        return power * log_v - (1 + b2 / (4 * t * a3)) * log_noise(v) - tilt * angle(v)

    log_mass = _log_integral(lambda s: log_density(np.exp(s), s) + s)  # v may underflow near T_c, its logarithm not
    inside = np.where(v > 0, v, 1.0)
    with np.errstate(over="ignore"):
        density = np.where(v > 0, np.exp(log_density(inside, np.log(inside)) - log_mass), 0.0)
    return np.where(np.isnan(v), np.nan, density)


def _moments(moments):
    return [array(f"moments.{name}", value) for name, value in named_moments(moments).items()]


def named_moments(moments: SlopeMoments) -> dict[str, ArrayLike]:
    """The moments by name. Raises TypeError for anything but SlopeMoments."""
    if not isinstance(moments, SlopeMoments):
        raise TypeError(f"moments: expected SlopeMoments, as slope_moments makes them, got {type(moments).__name__}")
    return moments._asdict()


def _log_integral(log_density):
    """log of the integral over the line of exp(log_density), which falls exponentially on both sides of one mode."""
    scan = np.linspace(-40.0, 40.0, 8001)
    values = log_density(scan)
    mode, top = scan[np.argmax(values)], np.max(values)

    def end(direction):
        distance = 0.01
        while log_density(mode + direction * distance) > top - 50:
            distance *= 1.5
        return distance

    parts = [
        quad(lambda s, sign=sign: np.exp(log_density(mode + sign * s) - top), 0, end(sign), epsrel=1e-12, limit=500)[0]
        for sign in (-1, 1)
    ]
    return top + np.log(sum(parts))
