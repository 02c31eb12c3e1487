"""Linear regression under true minibatch SGD, whose noise depends on the parameters: its second moments close exactly.

Convention: the example loss is (y - theta . x)^2 / 2, **with the half**; SGD is heavy ball m' = mu m + g, theta' =
theta - eta m' (optax.sgd); covariances are those of theta about the least-squares solution. All of it is dense linear
algebra on the host in float64 (the systems have condition numbers near 1 / (eta h_min), too large for float32); tracers
are refused. Beyond the critical learning rate a stationary law may go on, with infinite variance: it is refused.
"""

from typing import Literal

import numpy as np
import scipy.linalg
import scipy.optimize
from jax.typing import ArrayLike

from sgdsde.predictions.requirements import count, on_host, one_on_host, require, require_symmetric

Sampling = Literal["with_replacement", "without_replacement"]


def regression_covariance(
    inputs: ArrayLike,
    targets: ArrayLike,
    *,
    learning_rate: float,
    batch_size: int,
    sampling: Sampling,
    momentum: float = 0.0,
) -> np.ndarray:
    """Exact stationary covariance S (d, d) of minibatch SGD on a finite data set: `inputs` (n, d), `targets` (n,).

    With residuals r_i of the least-squares solution, H = mean x_i x_i^T, eta = `learning_rate`, and f = 1/B with
    replacement or (n - B) / (B (n - 1)) without, the pair z = (theta, m) obeys P = A P A^T + K N K^T,

        A = [[I - eta H, -eta mu I], [H, mu I]],  K = [-eta I, I]^T,
        N = f [mean_i (x_i^T S x_i + r_i^2) x_i x_i^T - H S H],  S the theta-theta block of P:

    a linear system of d (2d + 1) unknowns. Raises ValueError where the recursion's spectral radius is 1 or more.
    """
    inputs, targets = _checked_inputs(inputs), on_host("targets", targets)
    if targets.shape != inputs.shape[:1] or not np.all(np.isfinite(targets)):
        raise ValueError(f"targets: expected {len(inputs)} finite numbers, one for each input, got {targets.shape}")
    options = dict(learning_rate=learning_rate, batch_size=batch_size, sampling=sampling, momentum=momentum)
    recursion = _recursion_matrix(inputs, **options)
    radius = np.max(np.abs(np.linalg.eigvals(recursion)))
    if radius >= 1:
        raise ValueError(
            f"learning_rate: no stationary variance at {learning_rate}, where the second-moment recursion has spectral"
            f" radius {radius:.6g} >= 1; stay below critical_learning_rate"
        )
    residuals = targets - inputs @ np.linalg.lstsq(inputs, targets)[0]
    size = 2 * inputs.shape[1]
    entries = np.triu_indices(size)
    source = _second_moments(np.zeros((1, size, size)), inputs, residuals, **options)[0]
    moments = np.zeros((size, size))
    moments[entries] = np.linalg.solve(np.eye(len(recursion)) - recursion, source[entries])
    moments = np.triu(moments) + np.triu(moments, 1).T
    return moments[: size // 2, : size // 2]


def regression_spectral_radius(
    inputs: ArrayLike, *, learning_rate: float, batch_size: int, sampling: Sampling, momentum: float = 0.0
) -> float:
    """Spectral radius of the second-moment recursion in `regression_covariance`: variances exist iff it is below 1."""
    recursion = _recursion_matrix(
        _checked_inputs(inputs),
        learning_rate=learning_rate,
        batch_size=batch_size,
        sampling=sampling,
        momentum=momentum,
    )
    return float(np.max(np.abs(np.linalg.eigvals(recursion))))


def critical_learning_rate(inputs: ArrayLike, *, batch_size: int, sampling: Sampling, momentum: float = 0.0) -> float:
    """Learning rate at which `regression_spectral_radius` reaches 1, by root finding; at most 2 (1 + mu) / h_max."""

    def excess(learning_rate):
        options = dict(learning_rate=learning_rate, batch_size=batch_size, sampling=sampling, momentum=momentum)
        return regression_spectral_radius(inputs, **options) - 1

    inputs = _checked_inputs(inputs)
    momentum = one_on_host("momentum", momentum, at_least=0.0, below=1.0)
    above = 2.01 * (1 + momentum) / np.linalg.eigvalsh(inputs.T @ inputs / len(inputs))[-1]  # the mean diverges here
    while excess(above / 2) >= 0:
        above /= 2
    return float(scipy.optimize.brentq(excess, above / 2, above, rtol=1e-10))


def gaussian_regression_covariance(
    input_covariance: ArrayLike, *, label_variance: float, learning_rate: float, batch_size: int, momentum: float = 0.0
) -> np.ndarray:
    """Exact stationary covariance (d, d) for fresh inputs x ~ N(0, A), labels y = theta . x + N(0, s^2):

        S = (s^2 / B)(1 + k / B) eta G^-1,   G = 2 (1 - mu) I - ((1 - mu) / (1 + mu) + 1 / B) eta A,
        t = tr(eta A G^-1),  k = t / (1 - t / B);   it exists iff G > 0 and t < B, else ValueError.

    A = `input_covariance`, s^2 = `label_variance`, eta = `learning_rate`, B = `batch_size`, mu = `momentum`.
    Source: Liu, Ziyin, Ueda 2021 (2012.03636); Ziyin, Liu, Mori, Ueda 2022 (2102.05375).
    """
    learning_rate = one_on_host("learning_rate", learning_rate, above=0.0)
    label_variance = one_on_host("label_variance", label_variance, at_least=0.0)
    variances, modes = _checked_covariance(input_covariance, batch_size, momentum)
    gap = _gaussian_gap(variances, learning_rate, batch_size, momentum)
    trace = np.sum(learning_rate * variances / gap)
    if gap.min() <= 0 or trace >= batch_size:
        raise ValueError(
            f"learning_rate: no stationary variance at {learning_rate}, which has to stay below"
            " gaussian_critical_learning_rate: G needs positive eigenvalues and t < batch_size,"
            f" got {gap.min():.6g} and {trace:.6g}"
        )
    excess = label_variance / (batch_size - trace)  # (s^2 / B)(1 + k / B)
    return (modes * (learning_rate * excess / gap)) @ modes.T


def gaussian_critical_learning_rate(input_covariance: ArrayLike, *, batch_size: int, momentum: float = 0.0) -> float:
    """Learning rate at which the variance of `gaussian_regression_covariance` diverges: the root of t = B, G > 0."""
    variances, _ = _checked_covariance(input_covariance, batch_size, momentum)
    largest = variances[-1]
    singular = 2 * (1 - momentum) / ((1 - momentum) / (1 + momentum) + 1 / batch_size) / largest

    def excess(learning_rate):
        """(t - B) times the gap of the largest mode, G's own zero: finite, and positive, at the upper end too."""
        left = largest * (singular - learning_rate)
        gap = left + learning_rate * (largest - variances)  # in units in which that of the largest mode is `left`
        share = np.where(variances == largest, 1.0, left / np.where(variances == largest, 1.0, gap))
        last = _gaussian_gap(largest, learning_rate, batch_size, momentum)
        return learning_rate * np.sum(variances * share) - batch_size * last

    return float(scipy.optimize.brentq(excess, 0.0, singular, rtol=1e-12))


def scalar_regression_variance(
    *, second_moment: float, fourth_moment: float, label_variance: float, learning_rate: float, batch_size: int
) -> float:
    """Exact stationary variance in one dimension for fresh inputs of any law with moments m2, m4:

        V = eta s^2 m2 / (2 B m2 - eta (m4 + (B - 1) m2^2)),

    m2 = `second_moment`, m4 = `fourth_moment`, s^2 = `label_variance`, eta = `learning_rate`, B = `batch_size`; no
    momentum. Raises ValueError when the denominator is not positive (the variance is infinite) or m4 < m2^2.
    """
    learning_rate = one_on_host("learning_rate", learning_rate, above=0.0)
    second_moment = one_on_host("second_moment", second_moment, above=0.0)
    fourth_moment = one_on_host("fourth_moment", fourth_moment, above=0.0)
    label_variance = one_on_host("label_variance", label_variance, at_least=0.0)
    batch_size = count("batch_size", batch_size)
    require("fourth_moment", fourth_moment, lambda number: number >= second_moment**2, "second_moment squared or more")
    critical = 2 * batch_size * second_moment / (fourth_moment + (batch_size - 1) * second_moment**2)
    if learning_rate >= critical:
        raise ValueError(f"learning_rate: the variance is infinite from {critical:.6g} on, got {learning_rate}")
    return learning_rate * label_variance / (2 * batch_size * (1 - learning_rate / critical))


def _second_moments(moments, inputs, residuals, *, learning_rate, batch_size, sampling, momentum):
    """One step of the second moments (..., 2d, 2d) of (theta, m): P -> A P A^T + K N K^T."""
    num_examples, dimension = inputs.shape
    identity, hessian = np.eye(dimension), inputs.T @ inputs / num_examples
    drift = np.block([[identity - learning_rate * hessian, -learning_rate * momentum * identity],
                      [hessian, momentum * identity]])  # fmt: skip
    kick = np.concatenate([-learning_rate * identity, identity])
    spread = moments[..., :dimension, :dimension]
    squares = np.einsum("ni,...ij,nj->...n", inputs, spread, inputs, optimize=True) + residuals**2
    scatter = np.einsum("...n,ni,nj->...ij", squares / num_examples, inputs, inputs, optimize=True)
    noise = _variance_factor(num_examples, batch_size, sampling) * (scatter - hessian @ spread @ hessian)
    return drift @ moments @ drift.T + kick @ noise @ kick.T


def _recursion_matrix(inputs, **options):
    """Matrix of the linear part of `_second_moments` on the entries on and above the diagonal."""
    one_on_host("learning_rate", options["learning_rate"], above=0.0)
    one_on_host("momentum", options["momentum"], at_least=0.0, below=1.0)
    rows, columns = np.triu_indices(2 * inputs.shape[1])
    basis = np.zeros((len(rows), 2 * inputs.shape[1], 2 * inputs.shape[1]))
    basis[np.arange(len(rows)), rows, columns] = basis[np.arange(len(rows)), columns, rows] = 1
    return _second_moments(basis, inputs, 0.0, **options)[:, rows, columns].T


def _variance_factor(num_examples, batch_size, sampling):
    batch_size = count("batch_size", batch_size)
    if sampling == "with_replacement":
        return 1 / batch_size
    if sampling != "without_replacement":
        raise ValueError(
            f'sampling: expected "with_replacement" or "without_replacement", got {sampling!r}; batches of an epoch are'
            " correlated and have no closed second-moment recursion over one step"
        )
    if batch_size > num_examples:
        raise ValueError(
            f"batch_size: expected at most the {num_examples} examples without replacement, got {batch_size}"
        )
    return (num_examples - batch_size) / (batch_size * max(num_examples - 1, 1))


def _gaussian_gap(variances, learning_rate, batch_size, momentum):
    rate = learning_rate * variances
    return 2 * (1 - momentum) - ((1 - momentum) / (1 + momentum) + 1 / batch_size) * rate


def _checked_inputs(inputs):
    inputs = on_host("inputs", inputs)
    if inputs.ndim != 2 or 0 in inputs.shape or not np.all(np.isfinite(inputs)):
        raise ValueError(f"inputs: expected finite numbers of shape (num_examples, d), got shape {inputs.shape}")
    if np.linalg.matrix_rank(inputs) < inputs.shape[1]:
        raise ValueError("inputs: expected columns that are linearly independent (else no stationary law); drop some")
    return inputs


def _checked_covariance(input_covariance, batch_size, momentum):
    count("batch_size", batch_size)
    one_on_host("momentum", momentum, at_least=0.0, below=1.0)
    require_symmetric("input_covariance", on_host("input_covariance", input_covariance), semidefinite=True)
    variances, modes = scipy.linalg.eigh(np.atleast_2d(np.asarray(input_covariance, float)))
    require("input_covariance", variances, lambda number: number > 0, "positive eigenvalues")
    return variances, modes
