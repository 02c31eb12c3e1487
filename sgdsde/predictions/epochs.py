"""Stationary law of SGD under epoch sampling (random reshuffling), on a quadratic loss: exact, phase by phase.

An epoch is n // B steps; its minibatches are disjoint, so that its noise is anti-correlated: with Sigma the covariance
of *one* example's gradient (divide by n), the same everywhere, and C = Sigma (n - B)/(B (n - 1)),

    Cov(xi_k, xi_l) = C if k = l,   -Sigma/(n - 1) in the same epoch,   0 in different epochs.

If B divides n the noise of an epoch sums to zero; otherwise the remainder of each permutation sits out. No white-noise
SDE has this law. Heavy ball: m' = mu m + H x + xi, x' = x - eta m'.

Arguments: H = `hessian`, Sigma = `gradient_covariance`, (d, d) or numbers for d = 1, which need not commute;
eta = `learning_rate`, mu = `momentum`, n = `num_examples`, B = `batch_size`. Phase k means k steps after the beginning
of an epoch. Host side, float64: over an epoch of a flat direction almost all the noise cancels. Tracers are refused;
ValueError where there is no stationary law (H not positive definite, or eta * max curvature >= 2 (1 + mu)).
Source: Kuehn and Rosenow 2023 (arXiv 2306.05300), whose formulas are those of small eta h in one dimension.
"""

import numpy as np
from jax.typing import ArrayLike

from sgdsde.predictions.requirements import count, on_host, one_on_host, require_symmetric

MOST_STEPS = 100_000
"""minibatches of an epoch, or lags, of which every one is computed"""


def epoch_covariance(
    hessian: ArrayLike,
    gradient_covariance: ArrayLike,
    *,
    learning_rate: ArrayLike,
    num_examples: int,
    batch_size: int,
    momentum: ArrayLike = 0.0,
) -> np.ndarray:
    """Covariance of x at every phase of an epoch, (n // B, d, d); its mean over axis 0 is that of a random step.

    In one dimension without momentum, n = M B, a = 1 - eta h, C as above: V_k = a^2k V_0 + N(k), V_0 = N(M)/(1 - a^2M),
    N(k) = eta^2 C [M (1 - a^2k)/(1 - a^2) - ((1 - a^k)/(1 - a))^2]/(M - 1). The average tends to eta C/(h (2 - eta h))
    for steep directions and to eta^2 C (M + 1)/6 for flat ones, with the crossover at h ~ 3/(eta (M + 1)); V_0 tends to
    eta^3 h C M (M + 1)/24, smaller by orders of magnitude: where in an epoch one reads x decides what one finds.
    """
    modes, states, *_ = _stationary(hessian, gradient_covariance, learning_rate, num_examples, batch_size, momentum)
    return np.einsum("ai,kij,bj->kab", modes, states[..., 0, 0], modes)


def epoch_autocovariance(
    hessian: ArrayLike,
    gradient_covariance: ArrayLike,
    *,
    learning_rate: ArrayLike,
    num_examples: int,
    batch_size: int,
    num_lags: int,
    momentum: ArrayLike = 0.0,
) -> np.ndarray:
    """E[x_(k+j) x_k^T] at every phase k of an epoch, for lags of j = 0 to num_lags - 1 steps.

    Shape (n // B, num_lags, d, d); at lag 0 `epoch_covariance`. Its mean over axis 0 is that of a random step.
    """
    num_lags = count("num_lags", num_lags, at_most=MOST_STEPS)
    modes, states, powers, sums, within = _stationary(
        hessian, gradient_covariance, learning_rate, num_examples, batch_size, momentum, num_lags
    )
    num_steps = len(states)
    phases = np.arange(num_steps)
    result = []
    for lag in range(num_lags):
        free = np.einsum("ia,kijac->kijc", powers[lag][:, 0], states)[..., 0]
        # Steps of the same epoch after phase k have noise anti-correlated with what came before it.
        later = sums[lag][None, :, 0] - sums[np.maximum(phases + lag - num_steps, 0)][..., 0]
        result.append(free - within * np.einsum("ki,kj->kij", later, sums[phases][..., 0]))
    return np.einsum("ai,kjil,bl->kjab", modes, np.stack(result, axis=1), modes)


def epoch_noise_autocovariance(gradient_covariance: ArrayLike, *, num_examples: int, batch_size: int) -> np.ndarray:
    """E[xi_(k+j) xi_k^T] averaged over the phases k of an epoch, for lags of j = 0 to M - 1 steps, M = n // B.

    C = Sigma (n - B)/(B (n - 1)) at lag 0 and -Sigma (M - j)/(M (n - 1)) at lag j, which is -C (M - j)/(M (M - 1))
    where B divides n; 0 from lag M on. Shape (M, d, d).
    """
    sigma, (own, within) = _sigma(gradient_covariance), _shares(num_examples, batch_size)
    num_steps = num_examples // batch_size
    lags = np.arange(num_steps)
    factors = np.where(lags == 0, own, -within * (num_steps - lags) / num_steps)
    return factors[:, None, None] * sigma


def _stationary(hessian, gradient_covariance, learning_rate, num_examples, batch_size, momentum, num_lags=0):
    """Eigenvectors of H; the covariance of (x, eta m) between eigenmodes at every phase, (M, d, d, 2, 2); powers of a
    mode's step (.., d, 2, 2) and sums of the response to a kick (.., d, 2) up to num_lags; Sigma/(n - 1) between
    modes."""
    require_symmetric("hessian", hessian, semidefinite=False)
    sigma, (own, within) = _sigma(gradient_covariance), _shares(num_examples, batch_size)
    curvature = np.atleast_2d(on_host("hessian", hessian))
    eta = one_on_host("learning_rate", learning_rate, above=0.0)
    mu = one_on_host("momentum", momentum, at_least=0.0, below=1.0)
    if curvature.shape != sigma.shape:
        raise ValueError(f"gradient_covariance: expected the shape of hessian, {curvature.shape}, got {sigma.shape}")
    values, modes = np.linalg.eigh(curvature)
    if not (values[0] > 0 and eta * values[-1] < 2 * (1 + mu)):
        raise ValueError(
            f"no stationary law: hessian needs a positive smallest eigenvalue, got {values[0]:.6g}, and learning_rate"
            f" times largest eigenvalue below 2 (1 + momentum) = {2 * (1 + mu):.6g}, got {eta * values[-1]:.6g};"
            " lower learning_rate"
        )
    sigma = modes.T @ sigma @ modes
    rate, one = eta * values, np.ones_like(values)
    step = np.stack([np.stack([1 - rate, -mu * one], -1), np.stack([rate, mu * one], -1)], -2)
    num_steps, size = num_examples // batch_size, values.size
    powers, responses = [np.broadcast_to(np.eye(2), (size, 2, 2))], [np.broadcast_to([-eta, eta], (size, 2))]
    for _ in range(max(num_steps, num_lags)):
        powers.append(step @ powers[-1])
        responses.append(np.einsum("iab,ib->ia", step, responses[-1]))
    sums = np.concatenate([np.zeros((1, size, 2)), np.cumsum(responses, axis=0)])
    noise = [np.zeros((size, size, 2, 2))]
    for k in range(1, num_steps + 1):
        # own A2 - within (A1 A1 - A2) with A1 = sum w, A2 = sum w w, about the mean of w: nothing large is subtracted.
        centred = np.asarray(responses[:k]) - sums[k][None] / k
        spread = np.einsum("kia,kjb->ijab", centred, centred)
        shared = (num_examples - batch_size * k) / (batch_size * k * (num_examples - 1))
        both = (own + within) * spread + shared * np.einsum("ia,jb->ijab", sums[k], sums[k])
        noise.append(sigma[..., None, None] * both)
    around = np.einsum("iab,jcd->ijacbd", powers[num_steps], powers[num_steps]).reshape(size, size, 4, 4)
    start = np.linalg.solve(np.eye(4) - around, noise[-1].reshape(size, size, 4, 1)).reshape(size, size, 2, 2)
    states = [np.einsum("iab,ijbc,jdc->ijad", powers[k], start, powers[k]) + noise[k] for k in range(num_steps)]
    return modes, np.stack(states), powers, sums, within * sigma


def _shares(num_examples, batch_size):
    """Of Sigma: the variance of one minibatch, and minus the covariance of two of the same epoch."""
    num_examples = count("num_examples", num_examples, at_least=2)
    batch_size = count("batch_size", batch_size, at_most=num_examples, mend=f"num_examples is {num_examples}")
    if num_examples // batch_size > MOST_STEPS:
        raise ValueError(
            f"num_examples: expected at most {MOST_STEPS} batches an epoch, got {num_examples} / {batch_size}; every "
            "phase of an epoch is computed: take a larger batch_size, or `sgd_covariance` as its limit"
        )
    return (num_examples - batch_size) / (batch_size * (num_examples - 1)), 1 / (num_examples - 1)


def _sigma(gradient_covariance):
    require_symmetric("gradient_covariance", on_host("gradient_covariance", gradient_covariance), semidefinite=True)
    return np.atleast_2d(np.asarray(gradient_covariance, float))
