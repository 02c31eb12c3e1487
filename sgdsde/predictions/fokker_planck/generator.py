"""The Fokker-Planck operator as a Markov chain on a grid: finite volumes, conservative, positive, second order.

    dp/dt = -div J,    J_i = f_i p - d_j (D_ij p)        (Ito)

At every point D = sum_k w_k e_k e_k^T with weights w_k >= 0 and whole-number offsets e_k (in units of the spacings):
one offset in one dimension, at most three in two, by Selling's algorithm. Between x and y = x + e runs the flux of
Scharfetter and Gummel,

    w_e(x) p(x) B(-a) - w_e(y) p(y) B(a),    B(z) = z / (exp(z) - 1),    a = integral of D^-1 f from x to y (Simpson),

so that every jump rate is non-negative however anisotropic D is (no cross derivative can make one negative), no mass
is lost, and a law without current is reproduced to fourth order. Jumps that would leave the grid are left out:
reflecting walls. Cells are centred on the points, half as wide on the rim: a cell's mass is the trapezoid rule's.
Source: Selling 1874; Scharfetter and Gummel 1969; Bonnans, Ottenwaelter, Zidani 2004 for the offsets.
"""

import itertools
from typing import NamedTuple

import numpy as np
import scipy.sparse

from sgdsde.predictions.fokker_planck.coefficients import Coefficients


class Edges(NamedTuple):
    """All jumps along one offset: their flux is departing * p[here] - returning * p[there]."""

    offset: np.ndarray
    here: tuple[slice, ...]
    there: tuple[slice, ...]
    departing: np.ndarray
    returning: np.ndarray


class Generator(NamedTuple):
    """`matrix` moves the masses of the cells, d(mass)/dt = matrix mass; a cell's mass is `weights` * density."""

    matrix: scipy.sparse.csc_matrix
    weights: np.ndarray
    edges: list[Edges]
    steps: np.ndarray


def markov_generator(coefficients: Coefficients) -> Generator:
    """The generator on the points of a grid, from the coefficients there and halfway between."""
    drift, diffusion, steps = coefficients
    nodes = (slice(None, None, 2),) * len(steps)
    shape = drift[nodes].shape[:-1]
    scaled = steps * np.linalg.solve(diffusion, drift[..., None])[..., 0]  # D^-1 f in units of the spacings
    offsets, shares = _decomposition(
        (diffusion[nodes] / np.multiply.outer(steps, steps)).reshape(-1, *diffusion.shape[-2:])
    )
    sides = [np.concatenate([[step / 2], np.full(size - 2, step), [step / 2]]) for step, size in zip(steps, shape)]
    weights = _product(sides)
    index = np.arange(weights.size).reshape(shape)
    edges, rows, columns, rates = [], [], [], []
    for offset, share in zip(offsets, shares.reshape(len(offsets), *shape)):
        if np.any(np.abs(offset) >= np.array(shape)):
            raise ValueError(f"diffusion: too anisotropic for this grid (a jump of {offset} points); refine the grid")
        ranges = [(max(0, -move), min(size, size - move)) for move, size in zip(offset, shape)]
        here = tuple(slice(low, high) for low, high in ranges)
        there = tuple(slice(low + move, high + move) for (low, high), move in zip(ranges, offset))
        middle = tuple(slice(2 * low + move, 2 * high + move - 1, 2) for (low, high), move in zip(ranges, offset))
        force = (scaled[nodes][here] + 4 * scaled[middle] + scaled[nodes][there]) @ offset / 6
        departing, returning = share[here] * _bernoulli(-force), share[there] * _bernoulli(force)
        widths = [np.full(side.shape, step) if move else side for side, step, move in zip(sides, steps, offset)]
        area = _product(widths)[here]
        edges.append(Edges(offset, here, there, departing, returning))
        for origin, target, rate in ((here, there, departing), (there, here, returning)):
            rate = (area * rate / weights[origin]).ravel()
            start, end = index[origin].ravel(), index[target].ravel()
            rows += [end, start]
            columns += [start, start]
            rates += [rate, -rate]
    entries = np.concatenate(rates), (np.concatenate(rows), np.concatenate(columns))
    matrix = scipy.sparse.coo_matrix(entries, shape=(weights.size, weights.size)).tocsc()
    return Generator(matrix, weights, edges, steps)


def current_of(generator: Generator, density: np.ndarray) -> np.ndarray:
    """Probability current (..., d) at the points: the mean of the fluxes on their two sides."""
    current = np.zeros((*density.shape, density.ndim))
    for offset, here, there, departing, returning in generator.edges:
        flux = (departing * density[here] - returning * density[there])[..., None] * (offset * generator.steps) / 2
        current[here] += flux
        current[there] += flux
    return current


def _product(sides: list[np.ndarray]) -> np.ndarray:
    return sides[0] if len(sides) == 1 else np.multiply.outer(*sides)


def _bernoulli(z: np.ndarray) -> np.ndarray:
    """z / (exp(z) - 1), 1 at z = 0."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.where(np.abs(z) < 1e-8, 1 - z / 2, z / np.expm1(np.where(z == 0, 1.0, z)))


def _decomposition(diffusion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Offsets (k, d) and weights (k, n) >= 0 with D_n = sum_k weights[k, n] offsets[k] offsets[k]^T.

    In two dimensions by Selling's reduction: three vectors v of sum zero are exchanged until v_i . D v_j <= 0 for all
    pairs; then the weight of the offset at right angles to v_k is -v_i . D v_j.
    """
    count, size = diffusion.shape[:2]
    if size == 1:
        return np.array([[1]]), diffusion.reshape(1, count)
    vectors = np.tile(np.array([[1, 0], [0, 1], [-1, -1]]), (count, 1, 1))
    pairs = list(itertools.combinations(range(3), 2))
    trace = np.trace(diffusion, axis1=1, axis2=2)

    def scalar_products():
        gram = np.einsum("nia,nab,njb->nij", vectors, diffusion, vectors)
        return np.stack([gram[:, i, j] for i, j in pairs], axis=1)

    products = scalar_products()
    for _ in range(1000):  # the number of exchanges grows like the square root of the anisotropy
        worst = products.argmax(axis=1)
        acute = products.max(axis=1) > 1e-13 * trace
        if not acute.any():
            break
        for number, (i, j) in enumerate(pairs):
            where = acute & (worst == number)
            first, second = vectors[where, i], vectors[where, j]
            vectors[where] = np.stack([-first, second, first - second], axis=1)
        products = scalar_products()
    weights = np.maximum(-products, 0)
    opposite = vectors[:, [3 - i - j for i, j in pairs]]
    found = np.stack([-opposite[..., 1], opposite[..., 0]], axis=-1)
    found *= np.where((found[..., :1] < 0) | ((found[..., :1] == 0) & (found[..., 1:] < 0)), -1, 1)
    offsets, which = np.unique(found.reshape(-1, 2), axis=0, return_inverse=True)
    shares = np.zeros((len(offsets), count))
    np.add.at(shares, (which.reshape(count, 3), np.arange(count)[:, None]), weights)
    used = shares.max(axis=1) > 0
    return offsets[used], shares[used]
