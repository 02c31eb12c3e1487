"""Regular polygons in the toy model of superposition: critical points of its population's loss, and their losses.

f(x) = ReLU(W^T W x + b), W (2, c), loss |x - f(x)|^2 summed over outputs (**no half**), x = t e_i with i uniform among
c features and t ~ U[0, 1]. Everything runs on the host in float64.
Source: Elhage et al. 2022 (2209.10652); Chen et al. 2023 (2310.06301).
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq

from sgdsde.predictions.requirements import count

__all__ = ["SuperpositionPolygon", "superposition_loss", "superposition_polygon"]


class SuperpositionPolygon(NamedTuple):
    """A regular polygon of columns W_i = length (cos 2 pi i/k, sin 2 pi i/k) with biases `bias`; excess is its h_k."""

    length: float
    bias: float
    excess: float


def superposition_polygon(num_vertices: int) -> SuperpositionPolygon:
    """The regular polygon of k = num_vertices features with the least loss, whatever the number of features c >= k.

    With g = length^2 and bias -s g <= 0, feature i at t switches output i + j on where t cos(2 pi j/k) > s, so that its
    loss is 1/3 - 2 g A(s) + g^2 Q(s),

        A = (1 - s)^2 (2 + s)/6,      Q = sum over cos(2 pi j/k) > s of (cos(2 pi j/k) - s)^3 / (3 cos(2 pi j/k)):

    least at g = A/Q, and then at the s in [0, 1) that maximises A^2/Q; h_k = k (1 - 3 A^2/Q), which is 0 up to k = 4
    (g = 1, s = 0). By symmetry a stationary point among regular polygons is one among all params. Features outside the
    polygon (zero columns) have no part in it while their biases are <= 0; they add 1/3 each to c times the loss.
    Raises ValueError unless num_vertices is a whole number >= 1.
    """
    num_vertices = count("num_vertices", num_vertices, at_most=10**6)
    cosines = np.cos(2 * np.pi * np.arange(num_vertices) / num_vertices)
    grid = np.linspace(0, 1, 1001)[:-1]
    best = int(np.argmax([_overlap(s) ** 2 / _interference(s, cosines) for s in grid]))
    bracket = grid[best - 1], grid[min(best + 1, 999)]
    s = 0.0 if best == 0 else float(np.asarray(brentq(_slope, *bracket, args=(cosines,), xtol=1e-15)))
    overlap, interference = _overlap(s), _interference(s, cosines)
    gain = overlap / interference
    bias = -s * gain if s > 0 else 0.0
    return SuperpositionPolygon(np.sqrt(gain).item(), bias, num_vertices * (1 - 3 * overlap * gain))


def superposition_loss(num_vertices: int, num_features: int, *, num_biased: int) -> float:
    """Loss of the k-gon among c features of which m = num_biased <= c - k outside it have the bias 1/(2c),

        L = (h_k + c - k)/(3c) - m/(4 c^2).

    A zero column with bias b > 0 answers b to every input, which changes c times the loss by c b^2 - b: least at
    b = 1/(2c). It is critical too, if the polygon's columns sum to zero (k > 1; k = 0 is all columns zero).
    Raises ValueError naming the argument.
    """
    c = count("num_features", num_features)
    k = count("num_vertices", num_vertices, at_least=0, at_most=c, mend=f"num_features is {c}")
    m = count("num_biased", num_biased, at_least=0, at_most=c - k, mend="no more than are outside the polygon")
    excess = superposition_polygon(k).excess if k else 0.0
    return (excess + c - k) / (3 * c) - m / (4 * c**2)


def _overlap(s):
    """A(s) = integral_s^1 t (t - s) dt."""
    return (1 - s) ** 2 * (2 + s) / 6


def _interference(s, cosines):
    """Q(s) = sum_j integral_0^1 (t cos_j - s)_+^2 dt."""
    on = cosines[cosines > s]
    return np.sum((on - s) ** 3 / (3 * on)).item()


def _slope(s, cosines):
    """Half of Q^2/A times the derivative of A^2/Q: A' Q - A Q'/2."""
    on = cosines[cosines > s]
    return -(1 - s**2) / 2 * _interference(s, cosines) + _overlap(s) * np.sum((on - s) ** 2 / on).item() / 2
