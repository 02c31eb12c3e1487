"""A tail index with what makes it mean something: interval, goodness of fit, decimation and the Gaussian null."""

from dataclasses import dataclass
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from scipy.special import ndtri, stdtr, stdtrit

from sgdsde.arguments import count, number
from sgdsde.measurements.chains import on_host
from sgdsde.measurements.stable_law import distribution_function, quantile_table
from sgdsde.measurements.tails import (
    FREQUENCIES,
    SLOPE,
    block_tail_index,
    fitted_stable_law,
    in_blocks,
    log_moment_tail_index,
    quantile_tail_index,
)

__all__ = ["TailReport", "tail_report"]

_FEWEST = 200  # samples from which the interval was found to hold what it says
_REJECTED = 0.01
"""the p-value below which a stable law is rejected: 100 simulations are the fewest that can give one"""
_AT_ONCE = 2_000_000  # simulated numbers held at a time
_HALF = np.tan(np.pi * np.arange(100) / 200)
_POINTS = np.concatenate([-_HALF[:0:-1], _HALF])
"""Where distribution functions are compared, in units of the scale: Cauchy's quantiles, out to 64 scales"""


@dataclass(frozen=True)
class TailReport:
    """What `tail_report` found.

    index, scale: of the symmetric stable law, by `characteristic_tail_index`; index_error: the index's standard error
        whatever the law (delta method). interval: the indices in [0.3, 2] that the estimate does not reject at `level`
        *if* the samples are stable; (NaN, NaN) where it rejects all, as for tails lighter than normal.
    fit_distance: largest distance between the samples' distribution function and the fitted law's, at 199 points;
        fit_p_value: how often samples of that law, fitted in turn, are at least as far from theirs.
    decimated_index: of sums of `decimation` successive samples. For a stable law it is the index itself; for any law
        of finite variance it drifts to 2. decimation_p_value: how often, for samples of the fitted law, the two are at
        least as far apart. A small one of either says that the index is no tail index of a stable law.
    quantile_index, log_moment_index: the other estimates; far from each other they deny a stable law too.
    block_index: the published estimator, in blocks of `block_size`; null_index and null_spread: mean and standard
        deviation of the same on Gaussian samples. A block_index within the null's spread says nothing of heavy tails.
    student_degrees, student_distance: of the nearest Student's t that has a variance (2.1 to 1,000 degrees, of the
        samples' quartiles), and its distance from the samples; student_p_value: as fit_p_value. Unless it is below 1 %,
        samples of this size cannot tell the stable law from one of finite variance with heavy tails.
    """

    num_samples: int
    center: float
    index: float
    index_error: float
    interval: tuple[float, float]
    level: float
    scale: float
    fit_distance: float
    fit_p_value: float
    decimation: int
    decimated_index: float
    decimation_p_value: float
    quantile_index: float
    log_moment_index: float
    block_size: int
    block_index: float
    null_index: float
    null_spread: float
    student_degrees: float
    student_distance: float
    student_p_value: float

    @property
    def is_stable(self) -> bool:
        """Whether neither the fit nor the decimation test rejects a symmetric stable law at 1 %."""
        return self.fit_p_value >= _REJECTED and self.decimation_p_value >= _REJECTED

    @property
    def excludes_finite_variance(self) -> bool:
        """Whether every Student's t of 2.1 degrees or more, which has a variance, is rejected at 1 %: farther from
        the samples than the fitted stable law from its own. Else nothing here tells the two apart."""
        return self.student_p_value < _REJECTED

    def __str__(self) -> str:
        low, high = self.interval
        verdict = "not rejected" if self.is_stable else "REJECTED: the index is not that of a stable law"
        verdict = verdict if np.isfinite(self.index) else "cannot be fitted"
        if self.is_stable and not self.excludes_finite_variance:
            verdict += (
                f", nor is a law of finite variance (Student's t of {self.student_degrees:.3g} degrees, distance "
                f"{self.student_distance:.4f}, p = {self.student_p_value:.3f}): {self.num_samples} samples do not tell "
                "them apart"
            )
        return "\n".join(
            [
                f"tail index {self.index:.3f} +- {self.index_error:.3f}, {self.level:.0%} interval {low:.3f} to "
                f"{high:.3f}, scale {self.scale:.4g} ({self.num_samples} samples about {self.center:.4g})",
                f"stable law {verdict}",
                f"  fit         distance {self.fit_distance:.4f}, p = {self.fit_p_value:.3f}",
                f"  decimation  index of sums of {self.decimation}: {self.decimated_index:.3f}, "
                f"p = {self.decimation_p_value:.3f}",
                f"  others      quantiles {self.quantile_index:.3f}, log-moments {self.log_moment_index:.3f}",
                f"  published   block sums of {self.block_size}: {self.block_index:.3f}; "
                f"on Gaussian samples {self.null_index:.3f} +- {self.null_spread:.3f}",
            ]
        )


def tail_report(
    samples: ArrayLike,
    *,
    key: jax.Array,
    center: ArrayLike | None = None,
    gaussian_samples: ArrayLike | None = None,
    level: float = 0.95,
    num_simulations: int = 199,
) -> TailReport:
    """Everything that a statement about the tail of these samples needs; host side, float64.

    samples: (num_samples,), independent, of one law, 200 or more: successive values of one chain are neither; take one
    coordinate or direction of the gradient noise of independent minibatches (`observables.projected_noise`). center:
    the known centre, 0 for gradient noise; None subtracts the median. gaussian_samples: (num_sets, num_samples),
    Gaussian samples of the same covariance (the same observable gives them), for the published estimator's null; None
    takes independent ones. key: draws the num_simulations sets of the fitted law that give the p-values, which are
    multiples of 1/(num_simulations + 1) (100 simulations or more, so that one below 1 % is among them), and the
    Gaussian ones.

    The interval inverts the test |estimate - a| <= z s(a)/sqrt(num_samples), s(a)^2 the exact asymptotic variance of
    the estimate under index a: near 2 one rare jump decides, and an error taken from the samples is too small (83 %
    instead of 95 % at 1.95). The p-values are a parametric bootstrap (Stute, Gonzalez Manteiga, Presedo Quindimil
    1993): those of the tables are wrong for a law fitted to the samples.

    A sample that is not finite makes everything NaN. Raises ValueError or TypeError naming the argument.
    """
    x, null = _checked(samples, gaussian_samples, level, num_simulations)
    _require_key(key)
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)).astype(np.uint32).ravel())
    size, decimation, block_size = x.size, max(2, int(x.size ** (1 / 3))), max(2, int(np.sqrt(x.size)))
    middle = float(_middle(x)) if center is None else float(number("center", center))
    recentre = center is None
    measured = _fitted(x[None] - middle, decimation)
    index, scale, distance, shift = (float(value[0]) for value in measured)
    distances, shifts = _simulated(generator, index, size, decimation, recentre, num_simulations)
    as_far = lambda simulated, found: float((1 + np.sum(simulated >= found)) / (num_simulations + 1))
    if null is None:
        null = generator.standard_normal((min(num_simulations, max(1, _AT_ONCE // size)), size))
    nulls = block_tail_index(null - (_middle(null)[:, None] if recentre else 0), block_size)
    known = np.isfinite(index)
    degrees, student = _nearest_student(x - middle) if known else (np.nan, np.nan)
    return TailReport(
        num_samples=size,
        center=middle,
        index=index,
        index_error=_index_error(x, index),
        interval=_interval(index, size, level),
        level=level,
        scale=scale,
        fit_distance=distance,
        fit_p_value=as_far(distances, distance) if known else np.nan,
        decimation=decimation,
        decimated_index=index + shift,
        decimation_p_value=as_far(np.abs(shifts), abs(shift)) if known and np.isfinite(shift) else np.nan,
        quantile_index=float(quantile_tail_index(x)[0]),
        log_moment_index=float(log_moment_tail_index(x - middle)[0]),
        block_size=block_size,
        block_index=float(block_tail_index(x - middle, block_size)),
        null_index=float(np.mean(nulls)),
        null_spread=float(np.std(nulls, ddof=1)) if nulls.size > 1 else np.nan,
        student_degrees=degrees,
        student_distance=student,
        student_p_value=as_far(distances, student) if known else np.nan,
    )


def _require_key(key):
    if not isinstance(key, jax.Array) or not jnp.issubdtype(key.dtype, jax.dtypes.prng_key) or key.shape != ():
        raise TypeError(f"key: expected one key, as jax.random.key makes it, got {type(key).__name__}")


def _middle(x):
    """The median of an even number of samples: that of an odd number is one of them, whose logarithm is then lost."""
    return np.median(x[..., : x.shape[-1] // 2 * 2], axis=-1)


def _fitted(x, decimation):
    """(index, scale, distance of the fit, decimated index - index) of sets of centred samples (num_sets, size)."""
    index, scale = fitted_stable_law(np, x)
    decimated, _ = fitted_stable_law(np, in_blocks(x, decimation).sum(axis=-1))
    distance = [_distance(*one) for one in zip(x, index, scale, strict=True)]
    return index, scale, np.array(distance), decimated - index


def _distance(x, index, scale):
    if not (np.isfinite(index) and np.isfinite(scale) and index >= 0.3):
        return np.nan
    fractions = np.searchsorted(np.sort(x), scale * _POINTS, side="right") / x.size
    law = distribution_function(_HALF, min(index, 2.0))  # costs nearly all of a report; the other half mirrors it
    return np.max(np.abs(fractions - np.concatenate([1 - law[:0:-1], law])))


def _nearest_student(x):
    """Degrees of freedom, from 2.1 on, of the Student's t of the samples' quartiles that is nearest to them, and its
    largest distance from their distribution function."""
    half = np.subtract(*np.quantile(x, [0.75, 0.25])) / 2
    degrees = np.concatenate([np.linspace(2.1, 10, 80), np.geomspace(10, 1_000, 20)[1:]])
    points = half * _POINTS
    fractions = np.searchsorted(np.sort(x), points, side="right") / x.size
    laws = stdtr(degrees[:, None], _POINTS * stdtrit(degrees, 0.75)[:, None])
    distances = np.abs(laws - fractions).max(axis=1)
    best = int(np.argmin(distances))
    return float(degrees[best]), float(distances[best])


def _simulated(generator, index, size, decimation, recentre, num_simulations):
    """Distances and decimation shifts of sets of samples of the fitted law, each fitted in turn."""
    if not (np.isfinite(index) and index >= 0.3):
        return np.full(num_simulations, np.nan), np.full(num_simulations, np.nan)
    from scipy.stats import levy_stable  # takes a second to import

    results, left = [], num_simulations
    while left:
        now = min(left, max(1, _AT_ONCE // size))
        x = levy_stable.rvs(min(index, 2.0), 0.0, size=(now, size), random_state=generator)
        x = x - _middle(x)[:, None] if recentre else x
        results.append(_fitted(x, decimation)[2:])
        left -= now
    distances, shifts = (np.concatenate(column) for column in zip(*results, strict=True))
    return distances, shifts


def _index_error(x, index):
    """Standard error of the index by its influence function, whatever the law of the samples."""
    if not np.isfinite(index):
        return np.nan
    waves = np.exp(1j * FREQUENCIES[:, None] * (x - np.median(x)) / (np.subtract(*np.quantile(x, [0.75, 0.25])) / 2))
    phi = np.mean(waves, axis=1)
    squared = np.abs(phi) ** 2
    influence = (SLOPE / (squared * np.log(squared) / 2)) @ (np.real(np.conj(phi)[:, None] * waves) - squared[:, None])
    return float(np.std(influence) / np.sqrt(x.size))


@lru_cache(maxsize=1)
def _deviations():
    """Indices, and sqrt(num_samples) times the standard deviation of their estimate from samples of that stable law.

    Cov(cos jX, cos kX) = (phi(j + k) + phi(j - k))/2 - phi(j) phi(k) at frequencies in units of 1/scale, FREQUENCIES
    over the law's half width; the sines and the error of the half width do not matter to first order.
    """
    indices = np.linspace(0.3, 2, 1701)
    table, _, widths = quantile_table()
    frequencies = FREQUENCIES / (np.interp(indices, table[::-1], widths[::-1]) / 2)[:, None]
    j, k, a = frequencies[:, :, None], frequencies[:, None, :], indices[:, None, None]
    phi = lambda frequency: np.exp(-(np.abs(frequency) ** a))
    covariance = (phi(j + k) + phi(j - k)) / 2 - phi(j) * phi(k)
    exponents = frequencies ** indices[:, None]
    weights = -SLOPE / (np.exp(-exponents) * exponents)
    return indices, np.sqrt(np.einsum("ij,ijk,ik->i", weights, covariance, weights))


def _interval(index, size, level):
    candidates, deviations = _deviations()
    inside = candidates[np.abs(index - candidates) <= ndtri((1 + level) / 2) * deviations / np.sqrt(size)]
    return (float(inside[0]), float(inside[-1])) if inside.size else (np.nan, np.nan)


def _checked(samples, gaussian_samples, level, num_simulations):
    x = on_host("samples", samples)
    x = x if np.isfinite(x).all() else np.full_like(x, np.nan)
    if x.ndim != 1 or x.size < _FEWEST:
        raise ValueError(f"samples: expected (num_samples,), at least {_FEWEST} of them, got shape {x.shape}")
    number("level", level, above=0.0, below=1.0)
    fewest = f"a p-value is a multiple of 1/(num_simulations + 1), and one below {_REJECTED:g} has to be among them"
    count("num_simulations", num_simulations, at_least=round(1 / _REJECTED), at_most=1_000_000, mend=fewest)
    if gaussian_samples is None:
        return x, None
    null = np.atleast_2d(on_host("gaussian_samples", gaussian_samples))
    if null.ndim != 2 or null.shape[1] != x.size:
        raise ValueError(f"gaussian_samples: expected (num_sets, {x.size}) as the samples, got {null.shape}")
    return x, null
