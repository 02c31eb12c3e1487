"""The noisy quadratic model: the exact expected loss of SGD and the heavy ball, and how many steps a loss takes.

Independent coordinates of curvature h_i, independent gradient noise xi_i of variance c_i (of the *minibatch*: one
example's over the batch size), a start of mean square s_i without momentum, rate eta, momentum mu:

    m' = mu m + h_i x + xi,    x' = x - eta m',    L = (1/2) sum_i w_i h_i E x_i^2

w_i: how many coordinates an entry stands for. In (x, v), v = eta m, a step is the map M = [[1 - eta h, -mu],
[eta h, mu]] of the vector and S' = M S M^T + eta^2 c [[1, -1], [-1, 1]] of its second moments. n steps are again such a
pair (M_n, Q_n), and 2n steps are

    M_2n = M_n^2,    Q_2n = M_n Q_n M_n^T + Q_n,

so that any number of steps costs two products a binary digit. What is kept of M_n is D_n = M_n - 1, D_2n = 2 D_n +
D_n^2: a rate times curvature far below the rounding of 1 then loses no digits, and float32 is good to about 1e-5. Only
where rate times curvature nears its limit 2 (1 + mu) is the loss ill-conditioned: in float32 to 1e-2 at 0.998 of it and
mu = 0.99, and not to be trusted at 0.9999 of it under momentum.

Arguments: curvatures (d,) >= 0; noise_variances, start_variances and multiplicities (d,) or a number, >= 0. Traceable
in all of them but shapes, in JAX's default float type. Raises ValueError naming the argument; an unstable rate is no
error: its loss is large, infinite or NaN.

Source: Zhang et al. 2019 (1907.04164), section 3, whose momentum is the same heavy ball.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from sgdsde.predictions.requirements import array, is_integer, is_traced, momentum_of, number, require

__all__ = ["critical_batch_sizes", "noisy_quadratic_loss", "noisy_quadratic_moments", "steps_to_loss"]

MOST_DOUBLINGS = 24
"""steps are counted below 2^24, which float32 still tells apart"""


def noisy_quadratic_moments(
    num_steps: ArrayLike,
    *,
    curvatures: ArrayLike,
    noise_variances: ArrayLike,
    start_variances: ArrayLike,
    learning_rate: ArrayLike,
    momentum: ArrayLike = 0.0,
) -> Array:
    """E x_i^2 after num_steps steps: num_steps' shape and then (d,).

    num_steps: integers, 0 or more and below 2^24, of any shape, traced or not; all share one pass over the doublings.
    """
    steps = _counts(num_steps)
    model = _model(curvatures, noise_variances, start_variances, learning_rate, momentum)
    if not is_traced(steps):
        return _moments_after(jnp.asarray(steps).astype(jnp.int32), *model)
    is_count = ~jnp.isnan(steps)
    moments = _moments_after(jnp.where(is_count, steps, 0).astype(jnp.int32), *model)
    return jnp.where(is_count[..., None], moments, jnp.nan)


def noisy_quadratic_loss(
    num_steps: ArrayLike,
    *,
    curvatures: ArrayLike,
    noise_variances: ArrayLike,
    start_variances: ArrayLike,
    learning_rate: ArrayLike,
    momentum: ArrayLike = 0.0,
    multiplicities: ArrayLike = 1.0,
) -> Array:
    """The expected loss (1/2) sum_i w_i h_i E x_i^2 after num_steps steps, in num_steps' shape.

    w = `multiplicities`; everything else as `noisy_quadratic_moments`.
    """
    moments = noisy_quadratic_moments(
        num_steps,
        curvatures=curvatures,
        noise_variances=noise_variances,
        start_variances=start_variances,
        learning_rate=learning_rate,
        momentum=momentum,
    )
    return _dot(moments, _weights(curvatures, multiplicities))


def steps_to_loss(
    target: ArrayLike,
    *,
    curvatures: ArrayLike,
    noise_variances: ArrayLike,
    start_variances: ArrayLike,
    learning_rate: ArrayLike,
    momentum: ArrayLike = 0.0,
    multiplicities: ArrayLike = 1.0,
) -> Array:
    """The number of steps k after which the expected loss is at or below `target`: a whole number, as a float.

    k = 0 if the start is there; infinite if it takes 2^24 steps or more, never happens, or the rate is unstable.
    By binary lifting: of the steps 2^23, 2^22, ..., 1 each is taken that leaves the loss above the target, so that
    L(k - 1) > target >= L(k) exactly. For a loss that falls monotonically, every useful rate without momentum, that is
    *the* crossing; where the heavy ball's loss oscillates through the target it is one of the crossings, and the first
    one is found by stepping.
    """
    target = jnp.asarray(number("target", target, above=0.0), float)
    step, start = _model(curvatures, noise_variances, start_variances, learning_rate, momentum)
    return _steps_to_loss(target, step, start, _weights(curvatures, multiplicities))


def critical_batch_sizes(
    moments: ArrayLike, *, curvatures: ArrayLike, gradient_variances: ArrayLike, multiplicities: ArrayLike = 1.0
) -> dict[str, Array]:
    """The batch sizes, in examples, at which noise and gradient are equal: {"simple": ..., "curved": ...}.

        simple = tr Sigma / E|G|^2,    curved = tr(H Sigma) / E[G^T H G],    G_i = h_i x_i

    moments: E x_i^2, (..., d); the results are (...). gradient_variances: the diagonal of Sigma, of *one example*.
    "simple" compares lengths; "curved" is the batch at which the best single step gains half of what a noiseless one
    does. Ratios of expectations, not expectations of ratios. Source: McCandlish, Kaplan, Amodei et al. 2018
    (1812.06162): B_simple, eq. 2.9, and B_noise, eq. 2.8.
    """
    h, moments = _of_modes("curvatures", curvatures, above=0.0), array("moments", moments)
    counts = _of_modes("multiplicities", multiplicities, h.shape, at_least=0.0)
    variances = counts * _of_modes("gradient_variances", gradient_variances, h.shape, at_least=0.0)
    if moments.shape[-1:] != h.shape:
        raise ValueError(f"moments: expected (..., {h.size}) as curvatures {h.shape}, got {moments.shape}")
    squares = counts * h**2
    return {
        "simple": jnp.sum(variances) / _dot(moments, squares),
        "curved": jnp.sum(variances * h) / _dot(moments, squares * h),
    }


@jax.jit
def _moments_after(steps, step, start):
    """E x^2 after each of the integer steps, from one step and the start's second moments."""
    start = tuple(jnp.broadcast_to(part, (*steps.shape, part.size)) for part in start)

    def double(carry, digit):
        step, moments = carry
        is_taken = ((steps >> digit) & 1).astype(bool)[..., None]
        moved = _after(_lifted(step, moments[0].ndim), moments)
        moments = tuple(jnp.where(is_taken, new, old) for new, old in zip(moved, moments, strict=True))
        return (_twice(step), moments), None

    digits = jnp.arange(MOST_DOUBLINGS, dtype=jnp.int32)
    return jax.lax.scan(double, (step, start), digits)[0][1][0]


@jax.jit
def _steps_to_loss(target, step, start, weights):
    is_above = lambda moments: ~(_dot(moments[0], weights) <= target)  # NaN is above
    _, powers = jax.lax.scan(lambda step, _: (_twice(step), step), step, length=MOST_DOUBLINGS)

    def descend(carry, power):
        taken, moments = carry
        digit, step = power
        moved = _after(step, moments)
        stays = is_above(moved)
        moments = tuple(jnp.where(stays, new, old) for new, old in zip(moved, moments, strict=True))
        return (taken + jnp.where(stays, 1 << digit, 0), moments), None

    digits = jnp.arange(MOST_DOUBLINGS, dtype=jnp.int32)
    taken, _ = jax.lax.scan(descend, (jnp.int32(0), start), (digits, powers), reverse=True)[0]
    steps = jnp.where(taken < 2**MOST_DOUBLINGS - 1, (taken + 1).astype(target.dtype), jnp.inf)
    steps = jnp.where(is_above(start), steps, jnp.zeros_like(steps))
    is_wrong = [jnp.isnan(leaf).any() for leaf in jax.tree.leaves((target, step, start, weights))]  # traced arguments
    return jnp.where(jnp.array(is_wrong).any(), jnp.nan, steps)


def _counts(num_steps):
    expected = f"whole numbers from 0 to 2^{MOST_DOUBLINGS} - 1"
    return require("num_steps", num_steps, lambda k: (k >= 0) & (k < 2**MOST_DOUBLINGS) & is_integer(k), expected)


def _model(curvatures, noise_variances, start_variances, learning_rate, momentum):
    """One step as (D, Q), D = (xx, xv, vx, vv) row by row and Q = (xx, xv, vv), and the start's second moments."""
    eta = jnp.asarray(number("learning_rate", learning_rate, above=0.0), float)
    h = _of_modes("curvatures", curvatures)
    mu = jnp.broadcast_to(jnp.asarray(momentum_of(momentum), float), h.shape)
    kick = eta**2 * _of_modes("noise_variances", noise_variances, h.shape)
    start, pull = _of_modes("start_variances", start_variances, h.shape), eta * h
    nothing = jnp.zeros_like(h)
    return ((-pull, -mu, pull, mu - 1), (kick, -kick, kick)), (start, nothing, nothing)


def _weights(curvatures, multiplicities):
    """w_i h_i / 2 of the loss."""
    h = _of_modes("curvatures", curvatures)
    return h * _of_modes("multiplicities", multiplicities, h.shape) / 2


def _of_modes(name, value, shape=None, **bounds):
    """An array (d,), of the curvatures' own shape, or of `shape`, for which a number stands too."""
    result = array(name, value, **(bounds or {"at_least": 0.0}))
    if shape is None and (result.ndim != 1 or result.size == 0):
        raise ValueError(f"{name}: expected shape (d,), one number for each direction, got shape {result.shape}")
    if shape is not None and result.shape not in ((), shape):
        raise ValueError(f"{name}: expected a number or shape {shape} as curvatures, got shape {result.shape}")
    return result if shape is None else jnp.broadcast_to(result, shape)


def _twice(step):
    (a, b, c, d), added = step
    product = b * c
    squared = (a * (2 + a) + product, b * (2 + a + d), c * (2 + a + d), d * (2 + d) + product)
    return squared, _after(step, added)


def _after(step, moments):
    """(1 + D) S (1 + D)^T + Q."""
    (a, b, c, d), (added_xx, added_xv, added_vv) = step
    xx, xv, vv = moments
    a, d = 1 + a, 1 + d
    return (
        a * a * xx + 2 * a * b * xv + b * b * vv + added_xx,
        a * c * xx + (a * d + b * c) * xv + b * d * vv + added_xv,
        c * c * xx + 2 * c * d * xv + d * d * vv + added_vv,
    )


def _lifted(step, ndim):
    """The step with leading axes of length 1, to go with moments of that rank."""
    return jax.tree.map(lambda leaf: leaf.reshape((1,) * (ndim - 1) + leaf.shape), step)


def _dot(moments, weights):
    return jnp.einsum("...i,i->...", moments, weights, precision="highest")
