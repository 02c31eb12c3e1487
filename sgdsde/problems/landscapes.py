"""Landscapes: potentials with true minibatch gradients, so that SGD itself, not a stand-in for it, runs on them.

Every landscape is a finite sum, example_loss(x, z) = potential(x) + z . x with tilts z of mean zero (`tilts.py` states
their law; `with_tilts` changes it). For all of them except `state_dependent`:

- params have shape (d,), also for d = 1; mean_loss is the potential; its gradient noise is the same everywhere;
- gradient_covariance is Sigma of *one example* (divide by n): symmetric positive semi-definite (d, d), singular or
  zero allowed, a number for d = 1; num_examples >= d + 1; noise_factor is the constant F (d, d), F F^T = Sigma;
- numbers, and arrays, may be traced (a number outside of its range is then NaN, what else is wrong goes unseen);
  arrays fix the precision of the params, numbers follow;
- bad values raise ValueError (what is no real number, and two precisions: TypeError) with the name of the argument.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from sgdsde.arguments import is_number, known, matrix, number, precision, vector
from sgdsde.problem import Problem, check_problem
from sgdsde.problems.tilts import finite_sum, gaussian_tilts, heavy_tailed_tilts, with_tilts

__all__ = [
    "degenerate_valley",
    "double_well",
    "gaussian_tilts",
    "heavy_tailed_tilts",
    "hessian_of_quadratic",
    "mueller_brown",
    "quadratic",
    "quartic",
    "saddle",
    "sharp_and_flat",
    "state_dependent",
    "tilted_double_well",
    "with_tilts",
]

MUELLER_BROWN_TERMS = (  # height, x^2, x y, y^2 coefficients, centre x, centre y
    (-200.0, -1.0, 0.0, -10.0, 1.0, 0.0),
    (-100.0, -1.0, 0.0, -10.0, 0.0, 0.5),
    (-170.0, -6.5, 11.0, -6.5, -0.5, 1.5),
    (15.0, 0.7, 0.6, 0.7, -1.0, 1.0),
)
MUELLER_BROWN_MINIMA = (
    (-0.558223634633, 1.441725841805),
    (0.623499404931, 0.028037758529),
    (-0.050010822998, 0.466694104872),
)


def quadratic(hessian: Any, *, gradient_covariance: Any, num_examples: int) -> Problem:
    """x^T H x / 2 with H = hessian, symmetric (d, d), a number for d = 1; indefinite is allowed, and then unconfined.

    init: the origin.
    """
    dtype = precision(hessian=hessian, gradient_covariance=gradient_covariance)
    hessian = matrix("hessian", hessian, dtype)
    init = Partial(_random_row, jnp.zeros((1, len(hessian)), dtype))
    return _landscape(Partial(_quadratic, hessian), init, len(hessian), gradient_covariance, num_examples, dtype)


def hessian_of_quadratic(problem: Problem) -> jax.Array | None:
    """H (d, d) of a problem made by `quadratic` (other tilts included), without computing it; None for any other."""
    check_problem(problem)
    potential: Any = problem.mean_loss
    is_quadratic = getattr(potential, "func", None) is _quadratic and problem.penalty is None
    return potential.args[0] if is_quadratic else None


def double_well(*, barrier: Any, transverse_curvature: Any, gradient_covariance: Any, num_examples: int) -> Problem:
    """barrier (x_0^2 - 1)^2 + sum_i transverse_curvature[i] x_(i+1)^2 / 2, params (1 + len(transverse_curvature),).

    Minima (+-1, 0, ...) of value 0 and curvature 8 barrier along x_0; saddle at the origin, of height barrier > 0 and
    curvature -4 barrier. transverse_curvature: a sequence of numbers >= 0, () for one dimension. init: a random well.
    """
    return tilted_double_well(
        barrier=barrier,
        tilt=0.0,
        transverse_curvature=transverse_curvature,
        gradient_covariance=gradient_covariance,
        num_examples=num_examples,
    )


def tilted_double_well(
    *, barrier: Any, tilt: Any, transverse_curvature: Any, gradient_covariance: Any, num_examples: int
) -> Problem:
    """`double_well` + tilt x_0: a positive tilt makes the left well the deeper one, by 2 tilt to first order.

    Two wells, the outer roots of 4 barrier (x^3 - x) + tilt = 0, need |tilt| < 8 barrier / (3 sqrt 3). init: a random
    one of them.
    """
    dtype = precision(transverse_curvature=transverse_curvature, gradient_covariance=gradient_covariance)
    barrier = number("barrier", barrier, above=0.0)
    tilt = number("tilt", tilt)
    transverse = vector("transverse_curvature", transverse_curvature, dtype, at_least=0.0)
    values = known("values", (barrier, tilt))
    if values is not None and abs(values[1]) >= 8 * values[0] / np.sqrt(27):
        raise ValueError(
            f"tilt: two wells need |tilt| < 8 barrier / (3 sqrt 3) = {8 * values[0] / np.sqrt(27):.6g}, got {tilt}"
        )
    # the outer roots of x^3 - x + c = 0 in Viete's trigonometric form
    cosine = np.sqrt(27).item() / 8 * jnp.asarray(tilt, dtype) / jnp.asarray(barrier, dtype)
    right, left = jnp.cos(jnp.arccos(jnp.clip(jnp.stack([-cosine, cosine]), -1, 1)) / 3) * (2 / np.sqrt(3).item())
    wells = jnp.stack([right, -left])
    rest = jnp.zeros((2, len(transverse)), dtype)
    init = Partial(_random_row, jnp.concatenate([wells[:, None], rest], axis=1))
    potential = Partial(_double_well, barrier, tilt, transverse)
    return _landscape(potential, init, 1 + len(transverse), gradient_covariance, num_examples, dtype)


def sharp_and_flat(
    *,
    sharp_curvature: Any,
    flat_curvature: Any,
    separation: Any,
    smoothing: Any,
    gradient_covariance: Any,
    num_examples: int,
) -> Problem:
    """Two basins of equal depth in one dimension: the soft minimum of two parabolas,

        U = -w log(exp(-a/w) + exp(-b/w)),   a = h_s (x + l/2)^2 / 2,   b = h_f (x - l/2)^2 / 2,

    h_s = sharp_curvature >= h_f = flat_curvature, l = separation, w = smoothing (an energy). Each basin differs from
    its parabola, in depth, position and curvature, by a term of order exp(-h_f l^2 / (2 w)). The parabolas cross at
    the height E = h_s h_f l^2 / (2 (sqrt h_s + sqrt h_f)^2), where the smooth barrier is lower by w log 2; w <= E/5 is
    demanded, which keeps both curvatures to 0.1 %. The Gibbs law's occupations, flat over sharp, tend to
    sqrt(h_s / h_f) as w -> 0 at every temperature; at temperature w it is a mixture of two Gaussians. init: a random
    basin's centre, -l/2 or l/2.
    """
    dtype = precision(gradient_covariance=gradient_covariance)
    sharp = number("sharp_curvature", sharp_curvature, above=0.0)
    flat = number("flat_curvature", flat_curvature, above=0.0)
    separation = number("separation", separation, above=0.0)
    smoothing = number("smoothing", smoothing, above=0.0)
    curvatures = known("curvatures", (sharp, flat))
    if curvatures is not None and curvatures[1] > curvatures[0]:
        raise ValueError(f"flat_curvature: expected at most sharp_curvature = {sharp}, got {flat}; exchange the two")
    widths = known("widths", (separation, smoothing))
    if curvatures is not None and widths is not None:
        crossing = np.prod(curvatures) * widths[0] ** 2 / (2 * np.sum(np.sqrt(curvatures)) ** 2)
        if widths[1] > crossing / 5:
            raise ValueError(
                f"smoothing: expected at most a fifth of the height {crossing:.6g} at which the parabolas cross, got "
                f"{smoothing}; lower it to {crossing / 5:.6g} or increase separation"
            )
    half = jnp.asarray(separation, dtype) / 2
    init = Partial(_random_row, jnp.stack([-half, half])[:, None])
    potential = Partial(_sharp_and_flat, sharp, flat, separation, smoothing)
    return _landscape(potential, init, 1, gradient_covariance, num_examples, dtype)


def quartic(*, curvature: Any, coefficient: Any, gradient_covariance: Any, num_examples: int) -> Problem:
    """sum_i curvature_i x_i^2 / 2 + coefficient_i x_i^4 / 4, separable; d is that of gradient_covariance.

    curvature, coefficient > 0: a number for all coordinates or a sequence (d,). A negative curvature gives two wells at
    x_i = +-sqrt(-curvature/coefficient). init: in each coordinate a random one of its minima.
    """
    dtype = precision(curvature=curvature, coefficient=coefficient, gradient_covariance=gradient_covariance)
    size = len(matrix("gradient_covariance", gradient_covariance, dtype, semidefinite=True))
    curvature = _per_coordinate("curvature", curvature, size, dtype)
    coefficient = _per_coordinate("coefficient", coefficient, size, dtype, above=0.0)
    init = Partial(_random_signs, jnp.sqrt(jnp.maximum(-curvature / coefficient, 0)))
    potential = Partial(_quartic, curvature, coefficient)
    return _landscape(potential, init, size, gradient_covariance, num_examples, dtype)


def saddle(*, curvature: Any, confinement: Any, gradient_covariance: Any, num_examples: int) -> Problem:
    """sum_i curvature[i] x_i^2 / 2 + confinement |x|^4 / 4: a saddle at the origin, confined in every direction.

    curvature: a sequence (d,), at least one entry negative; confinement > 0. The minima lie along the most negative
    curvature h at the distance sqrt(-h/confinement), with value -h^2 / (4 confinement). init: the saddle itself.
    """
    dtype = precision(curvature=curvature, gradient_covariance=gradient_covariance)
    directions = vector("curvature", curvature, dtype)
    values = known("curvature", curvature)
    if values is not None and not (values < 0).any():
        raise ValueError(f"curvature: expected at least one negative entry, a direction of escape, got {curvature}")
    potential = Partial(_saddle, directions, number("confinement", confinement, above=0.0))
    init = Partial(_random_row, jnp.zeros((1, len(directions)), dtype))
    return _landscape(potential, init, len(directions), gradient_covariance, num_examples, dtype)


def mueller_brown(*, gradient_covariance: Any, num_examples: int) -> Problem:
    """The Mueller-Brown surface, two dimensions, three wells in a curved valley:

        sum_k A_k exp(a_k (x - x_k)^2 + b_k (x - x_k)(y - y_k) + c_k (y - y_k)^2)

    with the published constants: minima (-0.558, 1.442), (0.623, 0.028), (-0.050, 0.467) of values -146.700, -108.167,
    -80.768; saddles (-0.822, 0.624) and (0.212, 0.293) at -40.665 and -72.249. The deepest minimum has curvature 4068,
    so that learning rates above 2/4068 = 4.9e-4 are unstable there, and far out the surface grows like the exponential
    of a square. init: a random minimum. Source: Mueller and Brown (1979), Theoretica Chimica Acta 53, 75-93.
    """
    dtype = precision(gradient_covariance=gradient_covariance)
    init = Partial(_random_row, jnp.asarray(MUELLER_BROWN_MINIMA, dtype))
    return _landscape(Partial(_mueller_brown), init, 2, gradient_covariance, num_examples, dtype)


def degenerate_valley(*, strength: Any, confinement: Any, gradient_covariance: Any, num_examples: int) -> Problem:
    """strength x^2 y^2 / 2 + confinement (x^2 + y^2) / 2, two dimensions.

    At confinement 0 the minima are the two axes, valleys that steepen away from the origin, where they meet and the
    curvature vanishes: volume draws the walker there, and the Gibbs mass along an arm grows like a logarithm, so that
    there is no stationary law without confinement. strength > 0, confinement >= 0. init: a random one of the four
    points at distance 1 on the axes.
    """
    dtype = precision(gradient_covariance=gradient_covariance)
    strength = number("strength", strength, above=0.0)
    confinement = number("confinement", confinement, at_least=0.0)
    init = Partial(_random_row, jnp.asarray([[1, 0], [-1, 0], [0, 1], [0, -1]], dtype))
    potential = Partial(_degenerate_valley, strength, confinement)
    return _landscape(potential, init, 2, gradient_covariance, num_examples, dtype)


def state_dependent(*, curvature: Any, additive: Any, multiplicative: Any, num_examples: int) -> Problem:
    """One dimension, noise that grows with |x|, as true example noise:

        example_loss = h x^2 / 2 + z_1 x + z_2 x^2 / 2,     Sigma(x) = additive + multiplicative x^2

    h = curvature > 0; z_1 and z_2 uncorrelated, mean zero, of variances additive and multiplicative >= 0 (Gaussian
    tilts, so that some examples curve downward when sqrt(multiplicative) > h). The examples are (num_examples, 2),
    num_examples >= 3; noise_factor is (sqrt(additive), sqrt(multiplicative) x), of shape (1, 2). init: the origin.
    """
    curvature = number("curvature", curvature, above=0.0)
    variances = number("additive", additive, at_least=0.0), number("multiplicative", multiplicative, at_least=0.0)
    deviations = jnp.sqrt(jnp.stack([jnp.asarray(variance, float) for variance in variances]))
    examples = gaussian_tilts(jnp.eye(2), num_examples) * deviations[None, :]
    potential = Partial(_parabola, curvature)
    return Problem(
        example_loss=Partial(_state_dependent_loss, potential),
        examples=examples,
        init=Partial(_random_row, jnp.zeros((1, 1))),
        mean_loss=potential,
        noise_factor=Partial(_state_dependent_factor, deviations),
    )


def _quadratic(hessian, x):
    return jnp.sum(x * jnp.matmul(_like(x, hessian), x, precision="highest")) / 2


def _double_well(barrier, tilt, transverse_curvature, x):
    barrier, tilt, transverse_curvature = _like(x, barrier), _like(x, tilt), _like(x, transverse_curvature)
    return barrier * (x[0] ** 2 - 1) ** 2 + tilt * x[0] + jnp.sum(transverse_curvature * x[1:] ** 2) / 2


def _sharp_and_flat(sharp_curvature, flat_curvature, separation, smoothing, x):
    half, smoothing = _like(x, separation) / 2, _like(x, smoothing)
    sharp = _like(x, sharp_curvature) * (x[0] + half) ** 2 / 2
    flat = _like(x, flat_curvature) * (x[0] - half) ** 2 / 2
    return -smoothing * jnp.logaddexp(-sharp / smoothing, -flat / smoothing)


def _quartic(curvature, coefficient, x):
    return jnp.sum(_like(x, curvature) * x**2 / 2 + _like(x, coefficient) * x**4 / 4)


def _saddle(curvature, confinement, x):
    return jnp.sum(_like(x, curvature) * x**2) / 2 + _like(x, confinement) * jnp.sum(x**2) ** 2 / 4


def _mueller_brown(x):
    height, xx, xy, yy, centre_x, centre_y = jnp.asarray(MUELLER_BROWN_TERMS, x.dtype).T
    u, v = x[0] - centre_x, x[1] - centre_y
    return jnp.sum(height * jnp.exp(xx * u**2 + xy * u * v + yy * v**2))


def _degenerate_valley(strength, confinement, x):
    return _like(x, strength) * (x[0] * x[1]) ** 2 / 2 + _like(x, confinement) * jnp.sum(x**2) / 2


def _parabola(curvature, x):
    return _like(x, curvature) * x[0] ** 2 / 2


def _state_dependent_loss(potential, x, example):
    return potential(x) + example[0] * x[0] + example[1] * x[0] ** 2 / 2


def _state_dependent_factor(deviations, x):
    return jnp.stack([deviations[0], deviations[1] * x[0]])[None, :]


def _random_row(points, key):
    return points[jax.random.randint(key, (), 0, len(points))]


def _random_signs(distances, key):
    return distances * jax.random.rademacher(key, distances.shape, distances.dtype)


def _landscape(potential, init, size, gradient_covariance, num_examples, dtype):
    return finite_sum(
        potential, init, size=size, gradient_covariance=gradient_covariance, num_examples=num_examples, dtype=dtype
    )


def _per_coordinate(name, value, size, dtype, **bounds):
    if is_number(value):
        return jnp.full((size,), number(name, value, **bounds), dtype)
    result = vector(name, value, dtype, **bounds)
    if result.shape != (size,):
        raise ValueError(f"{name}: expected a number or {size} of them, as gradient_covariance, got {len(result)}")
    return result


def _like(x, value):
    """A number or array in the precision of the params."""
    return jnp.asarray(value, x.dtype)
