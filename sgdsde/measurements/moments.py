"""Means and covariances of independent chains, with standard errors. All of it is jnp and may run under jit or vmap.

The dtype of the samples is kept (whole numbers and booleans become floats). A standard error here needs a finite
variance of what is averaged: for a covariance, finite fourth moments. Under heavy tails use bounded functionals.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from sgdsde.arguments import count
from sgdsde.measurements.chains import enlargement_of_largest, enlargement_of_squares, floats, on_host
from sgdsde.pytrees import concrete

__all__ = ["covariance", "fraction", "mean", "whitened_deviation", "whitened_deviation_of_groups"]


def mean(samples: ArrayLike, *, sample_axis: int | None = None) -> tuple[jax.Array, jax.Array]:
    """Mean over independent chains, with its standard error, entry by entry.

        mean = (1/N) sum_i m_i,    standard error = sqrt( sum_i (m_i - mean)^2 / (N (N - 1)) )

    samples: (num_chains, ...), N = num_chains. m_i is chain i's value, or its average over `sample_axis` where that
    axis holds several samples of one chain, for example 1 for samples (num_chains, num_samples, ...).
    Returns (mean, standard_error), each of the shape that is left. An entry that is not finite in any chain is NaN in
    both. Raises ValueError for fewer than two chains or a sample_axis that is the chain axis.
    """
    values = floats("samples", samples)
    if values.ndim == 0 or values.shape[0] < 2:
        raise ValueError(
            f"samples: expected (num_chains, ...) with at least 2 chains, got shape {values.shape}; run more chains"
        )
    if sample_axis is not None:
        sample_axis = count("sample_axis", sample_axis, at_least=-values.ndim)
        if not -values.ndim <= sample_axis < values.ndim or sample_axis % values.ndim == 0:
            raise ValueError(
                f"sample_axis: expected an axis of {values.shape} other than the chain axis 0, got {sample_axis}"
            )
        values = jnp.mean(values, axis=sample_axis)
    return _mean(values)


def fraction(flags: ArrayLike) -> tuple[float, float]:
    """Fraction of independent chains (num_chains,) that have a property, with its standard error.

        f = k/N,    standard error = sqrt(q (1 - q)/N),  q = (k + 1)/(N + 2)

    q is the fraction with one chain more on either side (Laplace's rule): where all chains agree that proves little,
    and the error is not zero. Where few chains have the property, or all but a few, the law of f is skewed: with 6 of
    them expected 5.9 errors are passed in 25 of 10,000 sets, with 20 in 7 of 100,000, with 40 in 5 of a million. Raises
    ValueError for another shape or no chain.
    """
    flags = on_host("flags", flags)
    if flags.ndim != 1 or flags.size == 0:
        raise ValueError(f"flags: expected shape (num_chains,) with at least one chain, got {flags.shape}")
    if not np.all((flags == 0) | (flags == 1)):
        raise ValueError(f"flags: expected truth values, 0 or 1, got {flags[(flags != 0) & (flags != 1)][0]}")
    found, size = float(np.mean(flags)), flags.size
    smoothed = (found * size + 1) / (size + 2)
    return found, float(np.sqrt(smoothed * (1 - smoothed) / size))


def covariance(samples: ArrayLike, *, center: ArrayLike | None = None) -> tuple[jax.Array, jax.Array]:
    """Covariance matrix of one sample, unbiased, with the standard error of every entry from independent chains.

    With x_ij the j-th of M samples of chain i of N, m_i the average of chain i and <> the average over i and j:

        known center c:    S = < (x - c)(x - c)^T >
        estimated mean:    S = < (x - m)(x - m)^T > + B/N,   B = sum_i (m_i - m)(m_i - m)^T / (N - 1),  m = < x >

    The second term restores what the estimated mean takes away: B/N is an unbiased estimate of Cov m however strongly
    the samples of one chain are correlated. At M = 1 it is the usual sum / (N - 1).
    The standard error is sqrt( sum_i (p_i - p)^2 / (N (N - 1)) ) with p_i = chain i's average of (x - c)(x - c)^T for
    a known center (unbiased variance) and, for an estimated mean, the delete-one-chain jackknife of S, in closed form
    p_i = chain i's average of (x - m)(x - m)^T + 2 (m_i - m)(m_i - m)^T / (N - 2).
    From fewer than 700 chains a sample that misses the large squares has too small a variance and too small an error:
    the error is enlarged (4.0 at 20 chains, 1.9 at 50, 1.2 at 200), so that Gaussian chains pass 5.9 of it once in a
    million samples and z has the deviation 0.35, 0.6, 0.86 there. Heavy tails need more: with Student's t of 5 degrees
    or exponential chains, whose error has no or a large variance, 200 chains pass it in 0.02 % and 0.1 % of samples.

    samples: (num_chains, d) or (num_chains, num_samples, d). center: (d,), the mean where it is known, else None.
    Returns (S, standard_error), each (d, d). One number that is not finite in any chain makes all entries NaN.
    Raises ValueError for other shapes, fewer than 2 chains (3 for an estimated mean), or a center of another shape.
    """
    values, known = _vectors(samples, center)
    estimate, error = _covariance(values, known)
    return estimate, error * enlargement_of_squares(values.shape[0])


def whitened_deviation(
    samples: ArrayLike, predicted_covariance: ArrayLike, *, center: ArrayLike | None = None
) -> tuple[jax.Array, jax.Array]:
    """Worst entry of P^-1/2 S P^-1/2 - I, with its standard error: a measured covariance S against a predicted P.

    P = `predicted_covariance` (d, d), symmetric positive definite; P^-1/2 is its symmetric inverse root; S is
    `covariance(samples, center=center)` (unbiased; center None: mean estimated). The worst entry is the one of largest
    absolute value; it is returned with its sign and predicted to be 0. Being the largest of d (d + 1)/2 entries it is
    some standard errors from 0 even when P is right: the error is that of its own entry, and z has the law of a largest
    of so many (of a mean size 1.8 at d = 4). From fewer than 700 to 1,000 chains the error is enlarged as that of
    `covariance`, so that Gaussian chains pass 5.9 of it once in a million samples; beyond, the false-alarm rate is
    below 2e-9 d (d + 1) for Gaussian estimates. A deviation of .01 is a covariance wrong by 1 % in some direction.

    Returns (deviation, standard_error), scalars; both NaN when a sample is not finite, or when P is not positive
    definite under a trace. Raises ValueError for concrete P not symmetric positive definite, and as `covariance`.
    """
    values, known = _vectors(samples, center)
    predicted_covariance = floats("predicted_covariance", predicted_covariance)
    dimension = values.shape[-1]
    if jnp.shape(predicted_covariance) != (dimension, dimension):
        raise ValueError(
            f"predicted_covariance: expected shape ({dimension}, {dimension}) for samples of {dimension} coordinates, "
            f"got {jnp.shape(predicted_covariance)}"
        )
    _refuse_indefinite(predicted_covariance)
    deviation, error = _whitened_deviation(values, jnp.asarray(predicted_covariance, values.dtype), known)
    return deviation, error * enlargement_of_squares(values.shape[0], dimension * (dimension + 1) // 2)


def whitened_deviation_of_groups(moments: ArrayLike, predicted_covariance: ArrayLike) -> tuple[float, float]:
    """`whitened_deviation` from groups of independent chains, of which second moments about the true mean were kept.

    moments: (num_groups, d, d), one mean of (x - c)(x - c)^T for each of equal groups. Returns the entry of
    P^-1/2 M P^-1/2 - I of largest magnitude, M the mean over groups, and its standard error over groups, enlarged where
    these are few (3.1 at 8 groups and d = 2, 4.2 at d = 6; 1.5 and 1.7 at 16; 1 from 50 and 101 on) so that the largest
    of d (d + 1)/2 of Student's t passes 5.9 of it once in a million times. The groups' means are taken for Gaussian,
    which some 50 chains in a group make them. Host side, float64. Raises ValueError for other shapes, fewer than 2
    groups, or a P that is not positive definite.
    """
    groups, predicted = on_host("moments", moments), on_host("predicted_covariance", predicted_covariance)
    if predicted.ndim != 2 or predicted.shape[0] != predicted.shape[1] or predicted.size == 0:
        raise ValueError(f"predicted_covariance: expected a square matrix (d, d), got shape {predicted.shape}")
    if groups.ndim != 3 or groups.shape[0] < 2 or groups.shape[1:] != predicted.shape:
        raise ValueError(
            f"moments: expected (num_groups, *{predicted.shape}) with 2 groups or more, got shape {groups.shape}"
        )
    _refuse_indefinite(predicted)
    values, vectors = np.linalg.eigh(predicted)
    root = vectors / np.sqrt(values) @ vectors.T
    whitened = root @ groups @ root - np.eye(len(predicted))
    mean, error = whitened.mean(axis=0), whitened.std(axis=0, ddof=1) / np.sqrt(len(groups))
    worst = np.unravel_index(np.argmax(np.abs(mean)), mean.shape)
    enlarged = enlargement_of_largest(len(groups), len(predicted) * (len(predicted) + 1) // 2)
    return float(mean[worst]), float(error[worst] * enlarged)


def _vectors(samples: ArrayLike, center: ArrayLike | None) -> tuple[jax.Array, jax.Array | None]:
    """Samples as (num_chains, num_samples, d), center as (d,) of the same dtype."""
    values = floats("samples", samples)
    if values.ndim not in (2, 3) or 0 in values.shape:
        raise ValueError(
            f"samples: expected (num_chains, d) or (num_chains, num_samples, d), with d = 1 for a number, "
            f"got shape {values.shape}"
        )
    fewest = 3 if center is None else 2
    if values.shape[0] < fewest:
        raise ValueError(
            f"samples: expected at least {fewest} independent chains on the first axis, got shape {values.shape}; "
            "run more chains"
        )
    center = None if center is None else floats("center", center)
    if center is not None and center.shape != values.shape[-1:]:
        raise ValueError(f"center: expected shape {values.shape[-1:]} as the samples, got {center.shape}")
    values = values.reshape(values.shape[0], -1, values.shape[-1])
    return values, None if center is None else jnp.asarray(center, values.dtype)


def _refuse_indefinite(predicted_covariance: ArrayLike) -> None:
    matrix = concrete(predicted_covariance)
    if matrix is None:
        return
    matrix = np.asarray(matrix, np.float64)
    if not np.all(np.isfinite(matrix)):
        raise ValueError("predicted_covariance: expected finite numbers, got NaN or infinity")
    if np.max(np.abs(matrix - matrix.T)) > 1e-5 * np.max(np.abs(matrix)):
        raise ValueError("predicted_covariance: expected a symmetric matrix; pass (P + P.T) / 2 if it is one")
    smallest = np.linalg.eigvalsh((matrix + matrix.T) / 2)[0]
    if smallest <= 0:
        raise ValueError(
            f"predicted_covariance: expected a positive definite matrix, got smallest eigenvalue {smallest:.3g}; "
            "compare within the subspace that has noise"
        )


@jax.jit
def _mean(values: jax.Array) -> tuple[jax.Array, jax.Array]:
    values = jnp.where(jnp.isfinite(values), values, jnp.nan)
    return jnp.mean(values, axis=0), jnp.std(values, axis=0, ddof=1) / values.shape[0] ** 0.5


@jax.jit
def _covariance(values: jax.Array, center: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    num_chains, num_samples, _ = values.shape
    values = jnp.where(jnp.all(jnp.isfinite(values)), values, jnp.nan)
    # Centring on the grand mean first keeps products small; it is exact for the estimated mean.
    middle = jnp.mean(values, axis=(0, 1)) if center is None else center
    deviations = values - middle[None, None, :]
    averages = jnp.mean(deviations, axis=1)

    def row(coordinates: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        """One row of the matrix: memory stays (num_chains, d), never (num_chains, d, d)."""
        deviation, average = coordinates
        products = jnp.einsum("nm,nmd->nd", deviation, deviations, precision="highest") / num_samples
        if center is not None:
            return jnp.mean(products, axis=0), jnp.std(products, axis=0, ddof=1)
        between = average[:, None] * averages
        estimate = jnp.mean(products, axis=0) + jnp.mean(between, axis=0) / (num_chains - 1)
        return estimate, jnp.std(products + 2 * between / (num_chains - 2), axis=0, ddof=1)

    estimate, spread = jax.lax.map(row, (jnp.moveaxis(deviations, 2, 0), averages.T))
    return estimate, spread / num_chains**0.5


@jax.jit
def _whitened_deviation(
    values: jax.Array, predicted_covariance: jax.Array, center: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    eigenvalues, vectors = jnp.linalg.eigh(predicted_covariance)
    roots = 1 / jnp.sqrt(jnp.where(eigenvalues > 0, eigenvalues, jnp.nan))
    whitening = jnp.matmul(vectors * roots[None, :], vectors.T, precision="highest")
    # Centring before whitening: a large mean would cost digits in an ill-conditioned P.
    middle = jnp.mean(values, axis=(0, 1)) if center is None else center
    whitened = jnp.matmul(values - middle[None, None, :], whitening, precision="highest")
    measured, standard_error = _covariance(whitened, None if center is None else jnp.zeros_like(center))
    deviation = measured - jnp.eye(values.shape[-1], dtype=values.dtype)
    worst = jnp.argmax(jnp.abs(deviation))
    return deviation.ravel()[worst], standard_error.ravel()[worst]
