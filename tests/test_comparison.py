"""compare: one call on a loss of one's own; and what it says of laws that agree or do not."""

import itertools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgdsde import Problem, compare, noise, style
from sgdsde.comparison import _cadence, _draw_ticks, _median_and_error, _tick_text


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
    for row in comparison.table:
        seen = np.asarray(comparison.trajectories[row["dynamics"]].observed[-1])
        assert row["step"] == 60
        assert row["median"] == np.median(seen)
        if row["dynamics"] != "anisotropic_levy SDE":
            np.testing.assert_allclose(
                [row["mean"], row["standard_error"]], [seen.mean(), seen.std(ddof=1) / 2_000**0.5]
            )


def test_a_loss_under_stable_noise_has_a_median_and_no_mean(comparison):
    levy = comparison.table[-1]
    assert np.isnan([levy["mean"], levy["standard_error"]]).all()
    assert levy["median_error"] > 0
    line = next(line for line in str(comparison).splitlines() if line.startswith("anisotropic_levy SDE"))
    assert line.split("±")[1].split()[1] == "-"
    assert "under stable noise, and where chains diverge, there is none" in str(comparison)


def test_the_error_of_a_median_covers():
    """Half the distance of two order statistics: of 2,000 sets of 400 uniform numbers, within 5 % of the true error,
    1/(2 sqrt n); and of 400 exponential ones, 1/sqrt n."""
    draws = np.random.default_rng(0).uniform(size=(2_000, 400))
    for samples, expected in ((draws, 0.5 / 20), (-np.log1p(-draws), 1 / 20)):
        found, errors = _median_and_error(samples)
        np.testing.assert_allclose(errors.mean(), expected, rtol=0.1)
        np.testing.assert_allclose(found.std(), expected, rtol=0.1)


def test_chains_that_diverge_are_counted_and_the_rest_of_the_run_is_not_compared():
    """Not over survivors: up to the last record at which every chain is finite. Named kinds, with options."""
    steep = Problem(
        lambda x, z: 0.25 * jnp.sum(x**4) + z @ x,
        jnp.array([[1.0], [-1.0]]),
        lambda key: 4 * jax.random.normal(key, (1,)),
    )
    kinds = {"of its own": (noise.levy, {"tail_index": 1.9, "scale": 0.1}), "same": noise.anisotropic}
    sizes = {"num_steps": 30, "num_chains": 200, "every": 1, "substeps": 1}
    options = {"learning_rate": 0.1, "batch_size": 1, "sampling": "with_replacement"}
    found = compare(steep, jax.random.key(0), kinds=kinds, **options, **sizes)
    assert list(found.trajectories) == ["SGD", "of its own SDE", "same SDE"]
    first = min(int(t.diverged_at[t.diverged_at >= 0].min()) for t in found.trajectories.values())
    for row in found.table:
        assert 0.1 < row["diverged"] < 0.5
        assert 2 < row["step"] < first
        assert np.isfinite(row["median"])
        assert np.isnan(row["mean"])
    for distance in found.distances.values():
        assert 0 <= distance["cdf"] < 1
        assert np.isnan(distance["energy"])
    assert f"SGD: compared at step {found.table[0]['step']} of 30, before chains diverged" in str(found)
    found.figure()


@pytest.mark.parametrize(
    ("num_steps", "num_records"),
    [(1_009, 1_009), (100, 100), (1_000, 100), (37, 37), (2_000_000, 100), (9_998, 4_999), (1, 1)],
)
def test_records_are_neither_one_nor_a_million(num_steps, num_records):
    assert num_steps // _cadence(num_steps) == num_records
    assert num_steps % _cadence(num_steps) == 0


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
    assert "minus SGD" in course.get_ylabel()
    assert course.get_yscale() == "symlog"
    assert len([text for text in course.get_yticklabels() if text.get_text()]) >= 7
    (legend,) = comparison.figure().legends  # below the panels, over none of them
    assert [text.get_text() for text in legend.get_texts()][-1] == "anisotropic levy SDE (medians)"


def test_the_figure_of_losses_that_are_about_to_overflow():
    """Of chains at 1e154 and more a spread is infinite: drawn is what comes before, and nothing of NumPy's is heard."""
    problem = Problem(lambda x, z: jnp.sum((x - z) ** 2) / 2, jnp.arange(4.0)[:, None], lambda key: jnp.zeros(1))
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        found = compare(
            problem,
            jax.random.key(0),
            learning_rate=100.0,
            batch_size=2,
            sampling="with_replacement",
            num_steps=80,
            num_chains=16,
            kinds=(noise.isotropic,),
        )
        figure = found.figure()
        figure.canvas.draw()
    (drawn,) = (line for line in figure.axes[0].lines if len(line.get_xdata()) > 2 and not line.get_ydata().any())
    assert 20 < len(drawn.get_xdata()) < 40


@pytest.mark.parametrize("factor", [2.25, 4.0, 15.0, 40.0, 1e3, 2e7, 1e90])
@pytest.mark.parametrize("resolved", [0.1, 1e-7, 1e6])
def test_differences_near_sgd_and_far_from_it_can_both_be_read(resolved, factor):
    """Two numbers or more on either side of 0 within the linear part, its end among them, or one where it is small
    beside the rest; one or more beyond it, and no two texts over each other."""
    limit = factor * resolved
    drawn, panel = style.figure(height=3.2)
    panel.set_yscale("symlog", linthresh=resolved)
    _draw_ticks(panel, resolved, limit)
    panel.set_ylim(-limit, limit)
    drawn.canvas.draw()
    ticks = panel.get_yticks()
    np.testing.assert_array_equal(ticks, -ticks[::-1])
    assert np.abs(ticks).max() < limit * (1 + 1e-9)
    inside = np.sum((ticks > 0) & (ticks <= resolved * (1 + 1e-9)))
    assert inside >= (2 if factor < 100 else 1 if factor < 1e4 else 0)
    assert 1 <= np.sum(ticks > resolved * (1 + 1e-9)) <= 6
    boxes = sorted((text.get_window_extent() for text in panel.get_yticklabels()), key=lambda box: box.y0)
    assert all(low.y1 < high.y0 for low, high in itertools.pairwise(boxes))


@pytest.mark.parametrize(
    ("tick", "text"),
    [(0.0, "0"), (-0.05, "−0.05"), (2e4, "20000"), (1e5, "$10^{5}$"), (-2e-5, "−2 x $10^{-5}$")],
)
def test_the_numbers_beside_an_axis_are_short(tick, text):
    assert _tick_text(tick) == text


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
