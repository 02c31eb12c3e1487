"""Densities of the minibatch gradient noise, in gradient units: (noise (..., d), current (..., d)) -> (...)."""

from collections.abc import Callable

import numpy as np
import scipy.interpolate
from jax.typing import ArrayLike

from sgdsde.predictions.kernels import Kernel
from sgdsde.predictions.requirements import count, on_host, one_on_host, require, require_symmetric
from sgdsde.predictions.stable import symmetric_stable_density


def gaussian_noise_density(covariance: ArrayLike | Callable[[np.ndarray], ArrayLike]) -> Kernel:
    """Density of N(0, C), C = `covariance` that of the *minibatch* gradient: (d, d), or a function of the state,
    (..., d) -> (..., d, d). Positive definite; raises ValueError where the matrix given is not."""
    if callable(covariance):
        covariance_at = covariance
    else:
        constant = _definite(covariance)
        covariance_at = lambda current: constant

    def density(noise, current):
        factor = np.linalg.cholesky(np.asarray(covariance_at(current)))
        white = np.einsum("...ij,...j->...i", np.linalg.inv(factor), noise)
        volume = np.prod(np.diagonal(factor, axis1=-2, axis2=-1), axis=-1) * (2 * np.pi) ** (noise.shape[-1] / 2)
        return np.exp(-np.sum(white**2, axis=-1) / 2) / volume

    return density


def stable_noise_density(tail_index: float, scale: float) -> Kernel:
    """Density of the rotation-invariant stable law exp(-(scale |k|)^tail_index), d = 1 or 2 as the noise's last axis.

    Tail index 2 is variance 2 scale^2 in every coordinate. Independent stable coordinates are another law.
    """

    def density(noise, current):
        distance = np.linalg.norm(noise, axis=-1)
        return symmetric_stable_density(distance, tail_index=tail_index, scale=scale, dimension=noise.shape[-1])

    tail_index = one_on_host("tail_index", tail_index, at_least=0.5, at_most=2.0)
    scale = one_on_host("scale", scale, above=0.0)
    return density


def elliptical_stable_noise_density(tail_index: float, covariance: ArrayLike) -> Kernel:
    """Density of sqrt(A) N(0, C), A one-sided alpha/2-stable: characteristic function exp(-(k^T C k / 2)^(alpha/2)).

    C = `covariance` (d, d), d = 1 or 2, positive definite; alpha = `tail_index`; N(0, C) at tail index 2.
    """
    factor = np.linalg.cholesky(_definite(covariance))
    round_density, volume = stable_noise_density(tail_index, np.sqrt(0.5)), np.prod(np.diag(factor))
    whiten = np.linalg.inv(factor).T
    return lambda noise, current: round_density(noise @ whiten, current) / volume


def minibatch_noise_density(example_noise: ArrayLike, batch_size: int, *, smoothing: float) -> Kernel:
    """Density of the mean of B = `batch_size` draws, with replacement, from the rows z_j of `example_noise` (n, d).

    `example_noise` is example gradient minus mean gradient, the same in every state; d = 1 or 2.
    The law is discrete: it is smoothed by N(0, smoothing^2 I), after the z_j have been shrunk along their principal
    axes so that the covariance stays Sigma / B exactly (cumulants of order three and more shrink by (1 - smoothing^2 /
    variance) to half their order). Take `smoothing`, in gradient units, near the spacing of the state grid over the
    learning rate. The characteristic function (mean_j exp(i k . z_j / B))^B is exact and inverted by a fast Fourier
    transform of spacing smoothing / 4, then splined.
    Raises ValueError if its mean is not zero, or if smoothing^2 reaches the smallest eigenvalue of Sigma / B.
    """
    noise = on_host("example_noise", example_noise)
    batch_size, smoothing = count("batch_size", batch_size), one_on_host("smoothing", smoothing, above=0.0)
    if noise.ndim != 2 or noise.shape[1] not in (1, 2) or len(noise) == 0:
        raise ValueError(f"example_noise: expected shape (num_examples, 1) or (num_examples, 2), got {noise.shape}")
    require("example_noise", noise, np.isfinite, "finite numbers")
    spread = np.abs(noise).max()
    require("example_noise", noise.mean(axis=0), lambda mean: np.abs(mean) <= 1e-6 * spread, "rows with mean zero")
    variances, modes = np.linalg.eigh(noise.T @ noise / (len(noise) * batch_size))
    require("smoothing", smoothing, lambda number: number**2 < variances[0], f"below {np.sqrt(variances[0]):.3g}")
    noise = noise @ (modes * np.sqrt(1 - smoothing**2 / variances)) @ modes.T
    axes, waves, damping = zip(*(_fourier_axis(column, batch_size, smoothing) for column in noise.T))
    if len(axes) == 1:
        characteristic = waves[0].mean(axis=1) ** batch_size * damping[0]
    else:
        characteristic = (waves[0] @ waves[1].T / len(noise)) ** batch_size * damping[0][:, None] * damping[1][None, :]
    table = np.fft.fftshift(np.fft.fftn(characteristic).real) / np.prod([-2 * axis[0] for axis in axes])
    if len(axes) == 1:
        spline = scipy.interpolate.CubicSpline(axes[0], table)
    else:
        spline = scipy.interpolate.RectBivariateSpline(axes[0], axes[1], table).ev

    def density(noise, current):
        inside = np.all([np.abs(noise[..., i]) <= axis[-1] for i, axis in enumerate(axes)], axis=0)
        values = spline(*(np.clip(noise[..., i], -axis[-1], axis[-1]) for i, axis in enumerate(axes)))
        return np.where(inside, np.maximum(values, 0), 0)

    return density


def _definite(covariance):
    require_symmetric("covariance", on_host("covariance", covariance), semidefinite=True)
    matrix = np.atleast_2d(np.asarray(covariance, float))
    values = np.linalg.eigvalsh(matrix)
    if not values[0] > 1e-14 * values[-1]:
        raise ValueError(f"covariance: expected positive definite (a density exists), got eigenvalues {values}")
    return matrix


def _fourier_axis(values, batch_size, smoothing):
    """Positions -L, ..., L - spacing, and on their dual grid k the waves exp(i k z_j / B) and the smoothing's factor.

    By Bernstein's inequality the mean leaves (-L, L), L less nine smoothings, with probability below 2 exp(-37).
    """
    largest, decades = np.abs(values).max(), 37
    bernstein = largest * decades / 3 + np.sqrt(
        (largest * decades / 3) ** 2 + 2 * np.var(values) * decades * batch_size
    )
    half = int(np.ceil(4 * (min(largest, bernstein / batch_size) / smoothing + 9)))
    if half * len(values) > 20_000_000:
        raise ValueError(
            f"smoothing: {smoothing} asks for {2 * half} Fourier points; enlarge it (heavy-tailed examples?)"
        )
    frequency = 2 * np.pi * np.fft.fftfreq(2 * half, smoothing / 4)
    waves = np.exp(1j * frequency[:, None] * values[None, :] / batch_size)
    return np.arange(-half, half) * smoothing / 4, waves, np.exp(-((frequency * smoothing) ** 2) / 2)
