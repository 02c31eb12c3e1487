"""The gate for arguments: what is a number, what is not, and what a trace makes of a number outside of its range."""

import re
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgdsde import gradient_flow, landscapes, match, modular_addition, noise, observables, parity, sgd
from sgdsde.arguments import count, matrix, number, parts, shaped, square_root, vector

PROBLEM = landscapes.quadratic(np.diag([1.0, 2.0]), gradient_covariance=np.eye(2), num_examples=8)
OPTIONS = {"learning_rate": 0.1, "batch_size": 2, "sampling": "with_replacement"}

NO_NUMBERS = {
    "complex": 0.9j,
    "complex NumPy": np.complex64(0.5),
    "complex array": jnp.asarray(0.5 + 0j),
    "text": "0.5",
    "bytes": b"0.5",
    "truth": True,
    "NumPy truth": np.bool_(True),
    "truth array": jnp.asarray(True),
    "fraction": Fraction(1, 2),
    "too large": 10**400,
    "object": object(),
    "dictionary": {"a": 0.5},
    "key": jax.random.key(0),
}
"""of the wrong kind wherever one number is asked for"""
WRONG_SIZES = {
    "NaN": np.nan,
    "infinite": -np.inf,
    "negative": -0.5,
    "list": [0.5],
    "array": np.array([0.5, 0.25]),
    "one of them": jnp.array([0.5]),
}
NUMBERS = [0.5, np.float32(0.5), np.float64(0.5), np.float16(0.5), np.array(0.5), jnp.asarray(0.5), jnp.float32(0.5)]

FIELDS = {
    "learning_rate": lambda value: sgd(PROBLEM, **OPTIONS | {"learning_rate": value}),
    "momentum": lambda value: sgd(PROBLEM, **OPTIONS, momentum=value),
    "clip": lambda value: sgd(PROBLEM, **OPTIONS, clip=value),
    "variance": lambda value: noise.isotropic(PROBLEM, variance=value),
    "scale": lambda value: noise.levy(PROBLEM, tail_index=1.5, scale=value),
    "tail_index": lambda value: noise.levy_coordinates(PROBLEM, tail_index=value, scale=1.0),
    "barrier": lambda value: landscapes.double_well(
        barrier=value, transverse_curvature=(), gradient_covariance=1.0, num_examples=8
    ),
}


@pytest.mark.parametrize("field", FIELDS)
def test_what_is_no_number_is_refused_by_name(field):
    """In one sentence: the field, what is expected, what was found."""
    for kinds, error in ((NO_NUMBERS, TypeError), (WRONG_SIZES, ValueError)):
        for value in kinds.values():
            with pytest.raises(error, match=rf"^{field}: expected .*got ") as found:
                FIELDS[field](value)
            assert "\n" not in str(found.value)


@pytest.mark.parametrize("field", FIELDS)
def test_numbers_of_every_library_pass(field):
    for value in NUMBERS:
        FIELDS[field](value)


def test_python_and_numpy_numbers_become_floats_and_arrays_stay_arrays():
    for value in (1, np.int32(1), np.float32(1.0), 1.0):
        assert type(number("scale", value)) is float
    assert number("scale", 10**20) == 1e20
    array = jnp.float32(0.5)
    assert number("scale", array) is array
    assert number("scale", jnp.asarray(1)).dtype == float  # whole ones are numbers like any


@pytest.mark.parametrize(
    ("bounds", "wanted"),
    [
        ({"above": 0.0}, "a number > 0, got -1"),
        ({"at_least": 0.0}, "a number >= 0, got -1"),
        ({"at_least": 0.0, "below": 1.0}, "a number in [0, 1), got -1"),
        ({"above": 0.0, "at_most": 2.0}, "a number in (0, 2], got -1"),
        ({"at_most": -2.0}, "a number <= -2, got -1"),
        ({"below": -1.0}, "a number < -1, got -1"),
    ],
)
def test_the_range_is_named(bounds, wanted):
    with pytest.raises(ValueError, match=re.escape(f"scale: expected {wanted}; half of it")):
        number("scale", -1, **bounds, mend="half of it")


def test_the_way_out_is_named():
    for value, mend in (("1", "without quotes"), (True, "write 1.0 or 0.0"), (1j, "real part"), ([1], "jax.vmap")):
        with pytest.raises((TypeError, ValueError), match=mend):
            number("scale", value)


def test_a_trace_makes_nan_of_a_number_outside_of_its_range():
    rates = jnp.array([-0.1, 0.0, 0.5, 1.0, np.inf, np.nan])
    found = jax.vmap(lambda rate: number("momentum", rate, at_least=0.0, below=1.0))(rates)
    np.testing.assert_array_equal(found, [np.nan, 0.0, 0.5, np.nan, np.nan, np.nan])
    found = jax.jit(lambda rates: vector("curvatures", rates, float, above=0.0))(rates)
    np.testing.assert_array_equal(found, [np.nan, np.nan, 0.5, 1.0, np.nan, np.nan])
    assert jax.vmap(lambda rate: number("rate", rate, above=0.0))(rates.astype(np.float32)).dtype == np.float32
    for wrong in (1j, True):
        with pytest.raises(TypeError, match=r"scale: expected .* got a traced"):
            jax.jit(lambda value: number("scale", value))(wrong)


def test_a_swept_dynamics_is_nan_where_its_numbers_are_wrong(key):
    """Negative rates would ascend, momentum above 1 would run time backwards, tail indices above 2 draw nonsense."""
    params = jnp.ones(2)

    def after(rate, momentum, tail_index):
        discrete = sgd(PROBLEM, **OPTIONS | {"learning_rate": rate}, momentum=momentum)
        levy = match(discrete, noise.levy, substeps=1, tail_index=tail_index, scale=0.1)
        steps = [one.advance(one.init(params), one.draw(key, 0, 0), 0).params for one in (discrete, levy)]
        return *steps, discrete.duration(0), levy.duration(0)

    rates, momenta, indices = jnp.array([0.1, -0.1, 0.1, 0.1]), jnp.array([0.5, 0.5, 1.5, 0.5]), jnp.full(4, 1.5)
    found = jax.vmap(after)(rates, momenta, indices.at[3].set(2.5))
    single = after(0.1, 0.5, 1.5)
    for swept, one in zip(found, single, strict=True):
        np.testing.assert_array_equal(swept[0], one)
        assert np.isnan(swept[1]).all()
    assert np.isnan(found[1][2:]).all()
    assert np.isnan(found[2][2])


def test_matrices_are_real_symmetric_and_where_asked_semidefinite():
    for wrong in (np.eye(2) * 1j, [[1, "a"], [0, 1]], [[1, 2], [3]], [[True]]):
        with pytest.raises(TypeError, match="covariance: expected real numbers, got"):
            matrix("covariance", wrong, float)
    for wrong in (-np.eye(2), np.array([[1, 0], [1, 1]]), np.ones((2, 3)), np.full((2, 2), np.nan)):
        with pytest.raises(ValueError, match="covariance: "):
            matrix("covariance", wrong, float, semidefinite=True)
    np.testing.assert_array_equal(matrix("covariance", np.eye(2, dtype=bool), float), np.eye(2))
    with pytest.raises(TypeError, match="covariance: expected real numbers"):
        noise.constant(PROBLEM, covariance=np.eye(2) * (1 + 1j))
    with pytest.raises(ValueError, match="covariance: expected a positive semi-definite"):
        noise.constant(PROBLEM, covariance=-np.eye(2))
    assert np.isnan(square_root(jnp.diag(jnp.array([1.0, -0.5])))).any()
    np.testing.assert_allclose(square_root(jnp.ones((2, 2))) @ square_root(jnp.ones((2, 2))).T, 1, rtol=1e-12)


@pytest.mark.parametrize("wrong", [[[1.0, 0.9], [0.0, 1.0]], [[1.0, 2.0], [2.0, 1.0]]])
def test_a_trace_makes_nan_of_a_matrix_that_is_no_covariance(wrong):
    gate = jax.jit(lambda value: matrix("covariance", value, float, semidefinite=True))
    assert np.isnan(gate(jnp.array(wrong))).all()
    right = jnp.array([[1.0, 0.9], [0.9, 1.0]])
    np.testing.assert_array_equal(gate(right), right)
    indefinite = jnp.array([[1.0, 2.0], [2.0, 1.0]])
    np.testing.assert_array_equal(jax.jit(lambda value: matrix("hessian", value, float))(indefinite), indefinite)


def test_counts_are_whole_numbers_known_to_python():
    for value in (3, np.int32(3), np.uint8(3), jnp.int32(3), np.array(3)):
        assert type(count("substeps", value)) is int
    for wrong in (2.5, True, "3", None, [3], np.ones(2, int), 1j, np.float64(3)):
        with pytest.raises(TypeError, match=r"substeps: expected an integer >= 1, got"):
            count("substeps", wrong)
    with pytest.raises(TypeError, match=r"got 2\.0; write 2"):
        count("substeps", 2.0)
    with pytest.raises(ValueError, match="batch_size: expected an integer from 2 to 8, got 10"):
        count("batch_size", 10, at_least=2, at_most=8)
    with pytest.raises(TypeError, match="got a traced number; it is a shape"):
        jax.jit(lambda value: count("substeps", value))(3)


def test_arrays_of_a_network_fit_to_each_other():
    sizes = {"d": 3}
    assert shaped("inputs", jnp.ones((5, 2, 3)), "(..., d)", sizes=sizes).shape == (5, 2, 3)
    assert shaped("right", [[1.0, 2.0]] * 3, "(d, k)", sizes=sizes).shape == (3, 2)
    assert sizes == {"d": 3, "k": 2}
    with pytest.raises(ValueError, match=r"left: expected shape \(m, k\) with k = 2, got \(4, 3\)"):
        shaped("left", jnp.ones((4, 3)), "(m, k)", sizes=sizes)
    with pytest.raises(ValueError, match=r"pairs: expected shape \(\.\.\., 2\), got \(\)"):
        shaped("pairs", jnp.int32(3), "(..., 2)")
    with pytest.raises(TypeError, match=r"pairs: expected whole numbers of shape \(n, 2\), got a traced float64"):
        jax.eval_shape(lambda pairs: shaped("pairs", pairs, "(n, 2)", "whole numbers"), jnp.ones((3, 2)))
    shapes = {"weights": "(d, N)", "biases": "(N,)"}
    with pytest.raises(
        TypeError, match=r"params: expected {'weights': \(d, N\), .* as problem.init gives, got a dict of 'a'"
    ):
        parts("params", {"a": 1.0}, shapes)
    with pytest.raises(ValueError, match=r"params\['biases'\]: expected shape \(N,\) with N = 2, got \(3,\)"):
        parts("params", {"weights": jnp.ones((3, 2)), "biases": jnp.ones(3)}, shapes)


def test_places_beyond_the_end_are_refused_where_jax_takes_the_last():
    weights = jnp.ones((3, 2))
    params = {"first": weights, "second": weights, "output": weights.T}
    with pytest.raises(ValueError, match="pairs: expected residues from 0 to 2, got 1 to 3"):
        modular_addition.quadratic_logits(params, jnp.array([[1, 3]]))
    with pytest.raises(ValueError, match="label: expected residues from 0 to 2, got -1 to -1"):
        modular_addition.cross_entropy(jnp.ones(3), jnp.int32(-1))
    with pytest.raises(ValueError, match="relevant: expected different places from 0 to 2, got"):
        parity.parity_labels(jnp.ones((2, 3)), [0, 3])


def test_watchers_are_functions_in_a_dict():
    for wrong in (None, "norm", observables.weight_norm, {"norm": 3}):
        with pytest.raises(Exception, match="observers"):
            observables.all_of(wrong, jnp.ones(2))
    with pytest.raises(
        TypeError, match=r"params: expected arrays in floating point, got .*complex.*; take its real part"
    ):
        observables.weight_norm(jnp.full(2, 1j))


def test_times_are_numbers():
    with pytest.raises(TypeError, match="times: expected real numbers, got '1'"):
        gradient_flow(PROBLEM, jnp.ones(2), ["1"])
