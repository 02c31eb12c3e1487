"""Power laws of the loss: the SDE whose noise is proportional to the loss, and what of it is left for exact SGD.

Near a minimum of loss L_* > 0 the noise of a squared loss, (y - f)^2 / 2 **with the half**, is about C = 2 L H / B.
If it is exactly that, the SDE in time t = eta k has, in one dimension with L = L_* + h x^2 / 2,

    dx = -h x dt + sqrt(2 eta h L / B) dW,      p(x) ~ L^-(1 + B/(eta h)),

h = `curvature`, eta = `learning_rate`, B = `batch_size`. SGD on linear regression with normal inputs has the noise
C = (2 L H + g g^T)/B instead, g = h x: the power law describes the bulk only, with another exponent
(`regression_loss_exponent`), and the tail has a third one (`gaussian_kesten_exponent`).
Source: Mori, Ziyin, Liu, Ueda 2022, Power-law escape rate of SGD (2105.09557).
"""

import numpy as np
import scipy.integrate
import scipy.special

from sgdsde.predictions.requirements import count, one_on_host


def proportional_noise_exponent(*, curvature: float, learning_rate: float, batch_size: int) -> float:
    """phi of the stationary density p(x) ~ L^-phi under noise proportional to the loss: 1 + B / (eta h)."""
    return 1 + _ratio(curvature, learning_rate, batch_size)


def proportional_noise_escape_exponent(
    *, curvature: float, learning_rate: float, batch_size: int, num_directions: int = 1
) -> float:
    """Exponent w of the escape rate ~ (L_s / L_*)^-w under noise proportional to the loss: B / (eta h) + 1 - k/2.

    k = `num_directions`, the directions of outlier curvature h, 1 in one dimension. It is also the exponent of the
    probability of losses above L_s, since k directions bring a factor L^(k/2 - 1) to the density of the loss.
    """
    num_directions = count("num_directions", num_directions)
    return 1 - num_directions / 2 + _ratio(curvature, learning_rate, batch_size)


def proportional_noise_escape_rate(
    *,
    curvature: float,
    saddle_curvature: float,
    minimum_loss: float,
    saddle_loss: float,
    learning_rate: float,
    batch_size: int,
) -> float:
    """Escapes over one saddle per unit of time t = eta k, in one dimension, noise proportional to the loss:

        sqrt(h |h_s|) / (2 pi) (L_s / L_*)^-(B/(eta h) + 1/2),

    h = `curvature` at the minimum, h_s = `saddle_curvature` < 0, L_* = `minimum_loss`, L_s = `saddle_loss`. Kramers'
    formula with the temperature of each place: one way only, and for L_s / L_* such that the rate is small.
    """
    saddle_curvature = one_on_host("saddle_curvature", saddle_curvature, below=0.0)
    ratio = _loss_ratio(minimum_loss, saddle_loss, "saddle_loss")
    exponent = proportional_noise_escape_exponent(
        curvature=curvature, learning_rate=learning_rate, batch_size=batch_size
    )
    return float(np.sqrt(-curvature * saddle_curvature) / (2 * np.pi) * ratio**-exponent)


def proportional_noise_passage_time(
    *,
    curvature: float,
    minimum_loss: float,
    loss: float,
    learning_rate: float,
    batch_size: int,
    start_loss: float | None = None,
) -> float:
    """Mean time t = eta k at which the loss of the SDE first reaches `loss`, from `start_loss` (None: from L_*):

        tau = (2 / (eta h^2 / B)) int_p^q (1 + y^2)^(phi - 1) int_0^y (1 + z^2)^-phi dz dy,

    q^2 = loss / L_* - 1, p^2 = start_loss / L_* - 1, phi = 1 + B / (eta h), L_* = `minimum_loss`, in one dimension, by
    quadrature (the inner integral is a hypergeometric function): exact at every height, where
    `proportional_noise_escape_rate` holds only for high ones. In steps: over eta.
    """
    end = np.sqrt(_loss_ratio(minimum_loss, loss) - 1)
    start = 0.0 if start_loss is None else np.sqrt(_loss_ratio(minimum_loss, start_loss, "start_loss") - 1)
    if not start < end:
        raise ValueError(f"start_loss: expected less than loss = {loss}, got {start_loss}")
    exponent = proportional_noise_exponent(curvature=curvature, learning_rate=learning_rate, batch_size=batch_size)

    def integrand(y):  # Pfaff's form of y 2F1(1/2, phi; 3/2; -y^2), all terms of which are positive
        return y / (1 + y**2) * scipy.special.hyp2f1(1, exponent, 1.5, y**2 / (1 + y**2))

    integral = scipy.integrate.quad(integrand, start, end, epsabs=0, epsrel=1e-11, limit=200)[0]
    if not np.isfinite(integral):
        raise ValueError(f"loss: expected one within reach, got {loss}, where phi = {exponent:.6g}; no float holds it")
    return float(2 * batch_size / (learning_rate * curvature**2) * integral)


def regression_loss_exponent(*, curvature: float, learning_rate: float, batch_size: int) -> float:
    """phi of the law p(x) ~ L^-phi that has the exact variance of SGD on regression: 1/2 + B/(eta h) - B/2.

    One dimension, normal inputs of variance h = `curvature`. The density of SGD is no power of the loss; this one
    has its second moment, s^2 / (h (2 phi - 3)) with L_* = s^2 / 2, equal to `scalar_regression_variance` (m2 = h,
    m4 = 3 h^2), and is close to the fit of the bulk by maximum likelihood. Raises ValueError where the variance is
    infinite, phi <= 3/2.
    """
    exponent = 0.5 + _ratio(curvature, learning_rate, batch_size) - batch_size / 2
    if exponent <= 1.5:
        raise ValueError(
            f"learning_rate: the variance is infinite from {2 * batch_size / (batch_size + 2) / curvature:.6g} on, got"
            f" {learning_rate}"
        )
    return float(exponent)


def _ratio(curvature, learning_rate, batch_size):
    """B / (eta h)"""
    curvature = one_on_host("curvature", curvature, above=0.0)
    return count("batch_size", batch_size) / (one_on_host("learning_rate", learning_rate, above=0.0) * curvature)


def _loss_ratio(minimum_loss, loss, name="loss"):
    minimum_loss = one_on_host("minimum_loss", minimum_loss, above=0.0)
    loss = one_on_host(name, loss)
    if not loss > minimum_loss:
        raise ValueError(f"{name}: expected more than minimum_loss = {minimum_loss}, got {loss}")
    return loss / minimum_loss
