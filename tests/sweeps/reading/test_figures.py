"""What a sweep's figure draws: the right numbers at the right places, and a word for everything that is missing."""

import io

import numpy as np
import pytest
from matplotlib.collections import FillBetweenPolyCollection, QuadMesh

from sgdsde import style
from sgdsde.experiment.folders import ExperimentError
from sgdsde.sweeps.reading.figures import MOST_VALUES, sweep_figure
from sgdsde.sweeps.reading.panels import FAIL, UNDERPOWERED

RATES = {"learning_rate": [0.04, 0.01, 0.02]}
SIZES = {"batch_size": [1, 8]}
KINDS = {"noise": ["sgd", "levy"]}


def drawn(dataset, **options):
    """The figure after it was laid out and written, in which a warning is an error."""
    figure = sweep_figure(dataset, **options)
    with style.context():
        figure.savefig(io.BytesIO(), format="png")
    return figure


def panels(figure):
    """The panels with a title, colour bars have none."""
    return [panel for panel in figure.axes if panel.get_title() and panel.get_visible()]


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()] if figure.legends else []


def numbers(*shape):
    return 1 + np.arange(np.prod(shape), dtype=float).reshape(shape)


def mesh(panel):
    return next(each for each in panel.collections if isinstance(each, QuadMesh)).get_array()


def rings(panel, label):
    """Where they stand."""
    found = [each for each in panel.collections if each.get_label() == label]
    return [tuple(place) for each in found for place in each.get_offsets().tolist()]


@pytest.fixture
def few_lines(monkeypatch):
    """Heat maps of sizes that one can write down."""
    monkeypatch.setattr("sgdsde.sweeps.reading.panels.MOST_LINES", 1)


def test_one_axis_is_a_line_in_ascending_order_with_band_and_theory(dataset_of):
    loss = np.array([[4.0, 6.0], [1.0, 1.5], [2.0, 4.0]])
    checks = {"law": (loss, [[7.0], [1.0], [3.0]], 0.1, 1)}
    (check, array) = panels(drawn(dataset_of([RATES], {"loss": loss}, checks=checks)))
    assert (check.get_title(), array.get_title()) == ("law", "loss")
    line, theory = (next(ln for ln in check.lines if ln.get_color() == style.COLOURS[n]) for n in ("SGD", "theory"))
    np.testing.assert_array_equal(line.get_xdata(), [0.01, 0.02, 0.04])
    np.testing.assert_array_equal(line.get_ydata(), [1.25, 3.0, 5.0])
    np.testing.assert_array_equal(theory.get_ydata(), [1.0, 3.0, 7.0])
    band = next(each for each in array.collections if isinstance(each, FillBetweenPolyCollection))
    corners = {tuple(corner) for corner in band.get_paths()[0].vertices.tolist()}
    assert {(0.01, 1.0), (0.01, 1.5), (0.02, 2.0), (0.02, 4.0)} <= corners  # two seeds: half their distance
    assert array.get_xscale() == "log"
    assert array.get_xlabel() == "learning rate"
    assert "1 standard error" in array.get_ylabel()


def test_what_is_missing_is_marked_and_counted(dataset_of):
    loss = np.array([[np.nan, np.nan], [1.0, np.nan], [2.0, 4.0]])
    figure = drawn(dataset_of([RATES], {"loss": loss}, failed=[[0, 1], [0, 0], [0, 0]]))
    assert panels(figure)[0].get_title() == "loss\n2 not finite, 1 failed of 6 runs"
    assert any(text.startswith("hollow") for text in legend(figure))
    assert any(text.startswith("cross") for text in legend(figure))


def test_two_long_axes_are_a_heat_map_with_contours_and_hatched_holes(dataset_of, few_lines):
    loss = numbers(3, 2, 2)
    loss[0, 1] = np.nan  # learning rate 0.04, batch size 8
    predicted = numbers(3, 2, 2).mean(axis=-1, keepdims=True)
    figure = drawn(dataset_of([RATES, SIZES], {}, checks={"law": (loss, predicted, 0.1, 1)}))
    (panel,) = panels(figure)
    cells = mesh(panel)
    np.testing.assert_array_equal(cells.mask, [[0, 0, 0], [0, 0, 1]])
    np.testing.assert_array_equal(cells.filled(0), [[5.5, 9.5, 1.5], [7.5, 11.5, 0]])
    assert panel.patch.get_hatch()
    assert {"hatched: no finite value", "lines: predicted"} <= set(legend(figure))
    assert [text.get_text() for text in panel.get_xticklabels()] == ["0.01", "0.02", "0.04"]
    assert [text.get_text() for text in panel.get_yticklabels()] == ["1", "8"]
    assert any("mean of 2 seeds" in each.get_ylabel() for each in figure.axes)


@pytest.mark.parametrize(
    ("axes", "lines"), [([RATES, SIZES], 2), ([SIZES, RATES], 2), ([RATES, {"momentum": [0.1, 0.5, 0.9]}], 3)]
)
def test_the_shorter_of_two_axes_is_lines_each_with_its_prediction(dataset_of, axes, lines):
    """Of two as long as each other the second."""
    shape = [len(values) for axis in axes for values in axis.values()]
    measured = np.repeat(numbers(*shape, 1), 2, axis=-1)
    places = sorted(set(range(2)) - {shape.index(lines, shape[0] == shape[1])})
    (panel,) = panels(
        figure := drawn(dataset_of(axes, {}, checks={"law": (measured, measured.mean(-1, keepdims=True), 0.1, 1)}))
    )
    assert legend(figure) == [str(value) for value in sorted(*axes[1 - places[0]].values())] + ["predicted"]
    theory = [line for line in panel.lines if line.get_color() == style.COLOURS["theory"] and line.get_xdata().size]
    assert len(theory) == lines
    along = np.argsort(*axes[places[0]].values())
    heights = np.moveaxis(measured.mean(-1), places[0], -1)[np.argsort(*axes[1 - places[0]].values())][:, along]
    np.testing.assert_array_equal([line.get_ydata() for line in theory], heights)


def test_points_that_fail_over_their_seeds_have_a_ring_or_a_frame(dataset_of, few_lines):
    measured = np.array([[1.0, 1.0], [3.0, 3.0], [np.nan, np.nan]])  # learning rates 0.04, 0.01, 0.02
    checks = {"law": (measured, 1.0, 0.1, 0)}
    (panel,) = panels(figure := drawn(dataset_of([RATES], {}, checks=checks)))
    assert rings(panel, FAIL) == [(0.02, 0.03), (0.01, 3.0)]
    assert rings(panel, UNDERPOWERED) == []
    assert legend(figure).count("verdict: fail") == 1
    grid = np.stack([measured, np.ones((3, 2))], axis=1)
    (panel,) = panels(figure := drawn(dataset_of([RATES, SIZES], {}, checks={"law": (grid, 1.0, 0.1, 0)})))
    frames = [patch for patch in panel.patches if patch.get_label() == FAIL]
    assert sorted(tuple(np.round(frame.get_center()).tolist()) for frame in frames) == [(0, 0), (1, 0)]
    assert legend(figure).count("verdict: fail") == 1
    for point in (3.0, np.nan):
        figure = drawn(dataset_of([{"learning_rate": [0.1]}], {}, checks={"law": (point, 1.0, 0.1, 0)}))
        assert legend(figure).count("verdict: fail") == 1


def test_underpowered_points_are_not_drawn_like_passes_nor_like_fails(dataset_of, few_lines):
    measured = np.array([[1.0, 1.0], [0.8, 1.2], [3.0, 3.0]])  # learning rates 0.04, 0.01, 0.02
    checks = {"law": (measured, 1.0, 0.1, 0)}
    (panel,) = panels(figure := drawn(dataset_of([RATES], {}, checks=checks)))
    assert rings(panel, UNDERPOWERED) == [(0.01, 1.0)]
    assert rings(panel, FAIL) == [(0.02, 3.0)]
    assert {FAIL, UNDERPOWERED} <= set(legend(figure))
    dashes = {each.get_label(): each.get_linestyle()[0][1] for each in panel.collections if each.get_label()}
    assert dashes[FAIL] is None
    assert dashes[UNDERPOWERED] is not None
    grid = np.stack([measured, np.ones((3, 2))], axis=1)
    (panel,) = panels(figure := drawn(dataset_of([RATES, SIZES], {}, checks={"law": (grid, 1.0, 0.1, 0)})))
    frames = {
        patch.get_label(): (patch.get_center().round().tolist(), patch.get_linestyle()) for patch in panel.patches
    }
    assert frames[FAIL] == ([1, 0], "-")
    assert frames[UNDERPOWERED][0] == [0, 0]
    assert frames[UNDERPOWERED][1] != "-"
    assert {FAIL, UNDERPOWERED} <= set(legend(figure))
    (panel,) = panels(
        figure := drawn(dataset_of([{"learning_rate": [0.1]}], {}, checks={"law": ([0.8, 1.2], 1.0, 0.1, 0)}))
    )
    assert rings(panel, UNDERPOWERED) == [(2.5, 1.0)]  # around the mean, beside two seeds


@pytest.mark.parametrize("axes", [[], [RATES], [RATES, SIZES]])
@pytest.mark.parametrize(("measured", "passed"), [(1.0, 0), (3.0, -1)])
def test_without_a_point_that_fails_there_is_no_such_mark(dataset_of, axes, measured, passed):
    """What passes over seeds, and what was not judged."""
    figure = drawn(dataset_of(axes, {}, checks={"law": (measured, 1.0, 0.1, passed)}))
    assert not {FAIL, UNDERPOWERED} & set(legend(figure))


def test_a_prediction_that_is_the_same_everywhere_is_a_number(dataset_of, few_lines):
    figure = drawn(dataset_of([RATES, SIZES], {}, checks={"law": (numbers(3, 2, 2), 0.5, 0.1, 1)}))
    assert any("predicted 0.5 everywhere" in each.get_ylabel() for each in figure.axes)


def test_a_few_categories_are_lines_beside_each_other(dataset_of):
    loss = numbers(2, 3, 2)
    (panel,) = panels(figure := drawn(dataset_of([KINDS, RATES], {"loss": loss})))
    assert legend(figure) == ["sgd", "levy"]
    for i, name in enumerate(("SGD", "levy")):
        line = next(each for each in panel.lines if each.get_color() == style.COLOURS[name])
        np.testing.assert_array_equal(line.get_ydata(), loss[i, [1, 2, 0]].mean(axis=-1))


def test_the_names_of_lines_stand_before_the_marks(dataset_of):
    measured = [[[1.0, np.nan]] * 3, [[3.0, 3.0]] * 3]
    figure = drawn(dataset_of([KINDS, RATES], {}, checks={"law": (measured, 1.0, 0.1, 0)}))
    assert legend(figure)[:2] == ["sgd", "levy"]
    assert [text.split(":")[0] for text in legend(figure)[2:]] == ["hollow", "verdict", "predicted"]


def test_many_categories_are_a_heat_map_with_the_names_beside_it(dataset_of):
    kinds = {"noise": [f"kind {i}" for i in range(9)]}
    checks = {"law": (numbers(9, 3, 2), numbers(9, 3, 2), 0.1, 1)}
    (panel,) = panels(figure := drawn(dataset_of([kinds, RATES], {}, checks=checks)))
    assert mesh(panel).shape == (9, 3)
    assert [text.get_text() for text in panel.get_yticklabels()] == kinds["noise"]
    assert not panel.texts
    assert "predictions are in the table" in legend(figure)


def test_two_categorical_axes_have_their_numbers_in_the_cells(dataset_of):
    checks = {"law": (numbers(2, 2, 2), 3.25, 0.1, 1)}
    (panel,) = panels(drawn(dataset_of([KINDS, {"momentum": [False, True]}], {}, checks=checks)))
    assert {text.get_text() for text in panel.texts} == {f"{x:g}\n(3.25)" for x in (1.5, 3.5, 5.5, 7.5)}


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1]])
def test_three_axes_are_multiples_over_the_categorical_one(dataset_of, order, few_lines):
    axes, loss = [RATES, SIZES, KINDS], numbers(3, 2, 2, 2)
    dataset = dataset_of([axes[i] for i in order], {"loss": loss.transpose(*order, 3)})
    found = panels(drawn(dataset))
    assert [panel.get_title() for panel in found] == ["noise = sgd", "noise = levy"]
    for i, panel in enumerate(found):
        np.testing.assert_array_equal(mesh(panel).filled(), loss[[1, 2, 0], :, i].mean(axis=-1).T)


def test_three_axes_of_numbers_are_multiples_over_the_third(dataset_of):
    dataset = dataset_of([RATES, SIZES, {"momentum": np.arange(9) / 10}], {"loss": numbers(3, 2, 9, 2)})
    figure = drawn(dataset)
    titles = [panel.get_title() for panel in panels(figure)]
    assert titles == [f"momentum = {x:g}" for x in (0, 0.2, 0.3, 0.5, 0.6, 0.8)]
    assert "6 of 9 values of momentum" in figure.get_suptitle()


def test_more_axes_are_held_and_the_title_says_so(dataset_of):
    loss = numbers(3, 2, 2, 2, 2)
    dataset = dataset_of([RATES, SIZES, KINDS, {"momentum": [0.0, 0.9]}], {"loss": loss})
    figure = drawn(dataset)
    assert "at momentum = 0" in figure.get_suptitle()
    figure = drawn(dataset, at={"noise": "levy", "momentum": "0.9", "batch_size": 8})
    assert "at noise = levy, momentum = 0.9, batch size = 8" in figure.get_suptitle()
    (panel,) = panels(figure)
    np.testing.assert_array_equal(panel.lines[0].get_ydata(), loss[[1, 2, 0], 1, 1, 1].mean(axis=-1))


@pytest.mark.parametrize("num_seeds", [1, 3, 40])
def test_a_single_point_shows_its_seeds_and_their_mean(dataset_of, num_seeds):
    samples = 1 + np.arange(num_seeds, dtype=float)
    checks = {"law": (samples, 2.0, 0.5, 1)}
    figure = drawn(dataset_of([{"learning_rate": [0.1]}], {}, num_seeds=num_seeds, checks=checks))
    (panel,) = panels(figure)
    points = panel.containers[0].lines[0]
    np.testing.assert_array_equal(points.get_ydata(), samples)
    assert len(panel.containers) == (1 if num_seeds == 1 else 2)
    if num_seeds > 1:
        assert panel.containers[1].lines[0].get_ydata() == samples.mean()
        assert panel.get_xticklabels()[-1].get_text() == "mean"


def test_values_are_six_by_default_and_others_by_name(dataset_of):
    names = [f"value_{i}" for i in range(12)]
    dataset = dataset_of([RATES], {name: numbers(3, 2) for name in names})
    figure = drawn(dataset)
    assert [panel.get_title() for panel in panels(figure)] == names[:MOST_VALUES]
    assert "6 of 12 values" in figure.get_suptitle()
    assert [panel.get_title() for panel in panels(drawn(dataset, values=names[7:9]))] == names[7:9]
    with pytest.raises(ExperimentError, match=r"no value `value_x`. Did you mean"):
        sweep_figure(dataset, values=["value_x"])


def test_long_names_wrap_and_are_no_mathematics(dataset_of):
    name = "occupation of the sharp basin at $0.25 and below, by the exact one-step kernel, in $ units_of_it"
    (panel,) = panels(drawn(dataset_of([KINDS], {name: numbers(2, 2)})))
    assert panel.get_title().replace("\\", "").split() == name.split()
    assert max(map(len, panel.get_title().split("\n"))) < 50


@pytest.mark.parametrize("axes", [[], [RATES], [KINDS], [RATES, SIZES], [KINDS, RATES], [RATES, SIZES, KINDS]])
def test_nothing_finite_is_drawn_without_a_complaint(dataset_of, axes):
    shape = (*(len(next(iter(fields.values()))) for fields in axes), 2)
    nothing = np.full(shape, np.nan)
    figure = drawn(dataset_of(axes, {"loss": nothing, "one": np.ones(shape)}, checks={"law": (nothing, 1, 0.1, 0)}))
    assert any("not finite of" in panel.get_title() for panel in panels(figure))


@pytest.mark.parametrize("axes", [[RATES], [RATES, SIZES], [KINDS, RATES]])
@pytest.mark.parametrize("factor", [1e200, 1e-300, 0.0, -1.0])
def test_numbers_of_any_size_are_drawn(dataset_of, axes, factor):
    shape = (*(len(next(iter(fields.values()))) for fields in axes), 2)
    drawn(dataset_of(axes, {}, checks={"law": (factor * numbers(*shape), numbers(*shape), 0.1, 1)}))


def test_what_was_not_swept_is_refused(dataset_of):
    dataset = dataset_of([RATES], {"loss": numbers(3, 2)})
    with pytest.raises(ExperimentError, match=r"`learning_rat` is not a swept field. Did you mean `learning_rate`?"):
        sweep_figure(dataset, at={"learning_rat": 0.1})
    with pytest.raises(ExperimentError, match=r"`learning_rate` has no value 0.3.*It has 0.04, 0.01, 0.02"):
        sweep_figure(dataset, at={"learning_rate": 0.3})
    with pytest.raises(ExperimentError, match="no numbers to draw"):
        sweep_figure(dataset_of([RATES], {}))
