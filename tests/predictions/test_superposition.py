"""Polygons against a generic minimiser of a loss by quadrature, the published numbers, criticality in all params."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import minimize

from sgdsde import superposition
from sgdsde.predictions import superposition_loss, superposition_polygon

pytestmark = pytest.mark.slow  # networks; every day they run as experiments at smoke size

PUBLISHED = {4: 0.0, 5: 0.23738, 6: 0.86746, 7: 1.74870, 8: 2.77311}
POINTS, WEIGHTS = np.polynomial.legendre.leggauss(12)


def excess_by_quadrature(length, bias, num_vertices):
    """3 k times the loss of one feature of the polygon: Gauss-Legendre between the kinks of every output."""
    total = 0.0
    for j in range(num_vertices):
        slope, own = length**2 * np.cos(2 * np.pi * j / num_vertices), float(j == 0)
        kink = -bias / slope if slope else -1.0
        ends = [0.0, kink, 1.0] if 0 < kink < 1 else [0.0, 1.0]
        for low, high in itertools.pairwise(ends):
            t = low + (high - low) * (POINTS + 1) / 2
            total += (high - low) / 2 * WEIGHTS @ (own * t - np.maximum(slope * t + bias, 0)) ** 2
    return 3 * num_vertices * total


@pytest.mark.parametrize("num_vertices", [1, 2, 3, 4, 5, 6, 7, 8, 9, 11])
def test_polygon_against_a_generic_minimiser(num_vertices):
    """From several starts, positive biases among them; the minimiser knows neither A, Q nor s."""
    found = superposition_polygon(num_vertices)
    best = min(
        (
            minimize(
                lambda x: excess_by_quadrature(*x, num_vertices), start, method="Nelder-Mead",
                options={"xatol": 1e-9, "fatol": 1e-14, "maxiter": 2000},
            )
            for start in ((1.0, -0.1), (1.4, -0.8), (1.0, 0.2), (1.6, -1.5))
        ),
        key=lambda result: result.fun,
    )  # fmt: skip
    np.testing.assert_allclose(found.excess, best.fun, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose([found.length, found.bias], [abs(best.x[0]), best.x[1]], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        excess_by_quadrature(found.length, found.bias, num_vertices), found.excess, rtol=1e-11, atol=1e-13
    )


def test_published_losses():
    for num_features in (8, 11):
        for k, excess in PUBLISHED.items():
            expected = (excess + num_features - k) / (3 * num_features)
            assert abs(superposition_loss(k, num_features, num_biased=0) - expected) < 1e-5 / num_features
            assert abs(superposition_polygon(k).excess - excess) < 1e-5


def test_ten_vertices_are_two_pentagons():
    """k = 10 is the golden section: s = 1/phi, length phi, and as much loss as five features never stored."""
    golden = (1 + np.sqrt(5)) / 2
    np.testing.assert_allclose(superposition_polygon(10), [golden, -golden, 5.0], rtol=1e-12)


def test_loss_by_direct_integration():
    """The whole network, output by output and input by input, with biased features; 1/(2c) is the best such bias."""
    c, k, m = 7, 5, 1
    shape = superposition_polygon(k)
    angles = 2 * np.pi * np.arange(k) / k
    weights = np.pad(shape.length * np.array([np.cos(angles), np.sin(angles)]), ((0, 0), (0, c - k)))

    def loss(bias):
        biases = np.array([shape.bias] * k + [bias] * m + [-0.1] * (c - k - m))

        def error(t, i):
            return np.sum((t * np.eye(c)[i] - np.maximum(t * weights.T @ weights[:, i] + biases, 0)) ** 2)

        return np.mean([quad(error, 0, 1, args=(i,), limit=200, epsabs=1e-11)[0] for i in range(c)])

    np.testing.assert_allclose(loss(1 / (2 * c)), superposition_loss(k, c, num_biased=m), rtol=1e-8)
    assert min(loss(0.9 / (2 * c)), loss(1.1 / (2 * c))) > loss(1 / (2 * c))


@jax.jit
def derivatives(vector):
    """Gradient and Hessian of eight features' population loss with respect to (weights, biases) as one vector."""
    params = lambda v: {"weights": v[:16].reshape(2, 8), "biases": v[16:]}
    loss = lambda v: superposition.population_loss(params(v))
    return jax.grad(loss)(vector), jax.hessian(loss)(vector)


@pytest.mark.parametrize(("num_vertices", "other_bias"), [(k, b) for k in (4, 5, 6, 7, 8) for b in ("half", "off")])
def test_polygons_are_critical_among_all_params(num_vertices, other_bias):
    """Gradient 0 in every weight and bias, and for k > 4 a minimum whose only flat directions are the rotation and all
    three parameters of every feature that is off: the learning coefficient is half the rank, (3 k - 1)/2 or
    (3 c - 1)/2."""
    c, k = 8, num_vertices
    shape = superposition_polygon(k)
    bias = 1 / (2 * c) if other_bias == "half" else -0.3
    params = superposition.polygon(
        num_features=c, num_vertices=k, length=shape.length, bias=shape.bias, other_biases=[bias] * (c - k)
    )
    num_biased = c - k if other_bias == "half" else 0
    expected = superposition_loss(k, c, num_biased=num_biased)
    np.testing.assert_allclose(superposition.population_loss(params), expected, rtol=1e-12)
    slope, hessian = derivatives(np.concatenate([params["weights"].ravel(), params["biases"]]))
    np.testing.assert_allclose(slope, 0, atol=1e-9)
    curvatures = np.linalg.eigvalsh(hessian)
    assert curvatures[0] > -1e-9
    if k > 4:
        assert np.sum(curvatures > 1e-6) == 3 * (k + num_biased) - 1


def test_no_polygon_and_one_vertex():
    c = 6
    assert superposition_loss(0, c, num_biased=0) == pytest.approx(1 / 3, rel=1e-14)
    zeros = {"weights": jnp.zeros((2, c)), "biases": jnp.full(c, 1 / (2 * c))}
    np.testing.assert_allclose(superposition.population_loss(zeros), superposition_loss(0, c, num_biased=c), rtol=1e-12)
    assert superposition_polygon(1) == superposition_polygon(4) == (1.0, 0.0, 0.0)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="num_vertices"):
        superposition_polygon(0)
    with pytest.raises(ValueError, match="num_vertices: expected an integer from 0 to 5"):
        superposition_loss(6, 5, num_biased=0)
    with pytest.raises(ValueError, match="num_biased: expected an integer from 0 to 2"):
        superposition_loss(3, 5, num_biased=3)
    with pytest.raises(ValueError, match="num_features"):
        superposition_loss(0, 0, num_biased=0)
