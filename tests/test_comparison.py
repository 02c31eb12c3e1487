"""compare: one call on a loss of one's own; and what it says of laws that agree or do not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgdsde import Problem, compare, noise


def squared_error(params, example):
    return 0.5 * (example["y"] - params["w"] @ example["x"]) ** 2


@pytest.fixture(scope="module")
def comparison():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, 2))
    examples = {"x": x, "y": x @ np.array([1.0, -1.0]) + rng.normal(size=32)}
    problem = Problem(squared_error, examples, lambda key: {"w": jnp.zeros(2)})
    return compare(
        problem,
        jax.random.key(0),
        learning_rate=0.2,
        batch_size=2,
        sampling="with_replacement",
        num_steps=60,
        num_chains=2_000,
        tail_index=1.2,
        substeps=1,
        kinds=(noise.anisotropic, noise.isotropic, noise.anisotropic_levy),
    )


def test_the_table_has_a_row_for_each_dynamics(comparison):
    names = ["SGD", "anisotropic SDE", "isotropic SDE", "anisotropic_levy SDE"]
    assert [row["dynamics"] for row in comparison.table] == names == list(comparison.trajectories)
    assert all(row["diverged"] == 0 for row in comparison.table)
    text = str(comparison)
    assert all(name in text for name in names)
    assert "±" in text


def test_distances_order_the_sdes(comparison):
    """Same covariance, then the trace-matched one, then heavy tails."""
    near, far = comparison.distances["anisotropic SDE"], comparison.distances["anisotropic_levy SDE"]
    assert far["cdf"] - near["cdf"] > 5.9 * np.hypot(far["cdf_error"], near["cdf_error"])
    assert far["energy"] > 5.9 * far["energy_error"]
    assert set(comparison.distances) == {"anisotropic SDE", "isotropic SDE", "anisotropic_levy SDE"}


def test_the_figure_names_its_axes(comparison):
    course, law = comparison.figure().axes
    assert "time" in course.get_xlabel()
    assert "loss" in law.get_xlabel()
    assert len(course.get_legend().get_texts()) == 4


def test_an_observable_that_is_no_scalar_is_refused(comparison):
    problem = Problem(lambda x, z: z @ x, jnp.eye(2), lambda key: jnp.zeros(2))
    with pytest.raises(ValueError, match="observe: expected a function params -> scalar"):
        compare(
            problem,
            jax.random.key(0),
            learning_rate=0.1,
            batch_size=1,
            sampling="with_replacement",
            num_steps=10,
            num_chains=4,
            observe=lambda x: x,
        )
