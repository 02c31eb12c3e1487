"""Which scale an axis gets, and that every tick stands at a value that was swept."""

import numpy as np
import pytest

from sgdsde import style
from sgdsde.sweeps.reading.scales import ascending, draw_ticks, scale_of


@pytest.mark.parametrize(
    ("values", "kind", "is_categorical"),
    [
        ([0.01, 0.02, 0.04, 0.08], "log", False),
        ([1, 4, 16, 64], "log", False),
        ([1, 2, 64, 128], "log", False),
        ([0.1, 0.2, 0.3], "linear", False),
        ([0.0, 0.5, 0.9], "linear", False),
        ([-1.0, 1.0], "linear", False),
        ([0.1, 0.5], "linear", False),
        ([0.01, 0.1], "log", False),
        ([0.0, 1e-3, 1e-2, 0.9], "even", False),
        ([0.5], "linear", False),
        (["sgd", "levy"], "even", True),
        ([False, True], "even", True),
        (["(12.0, 4.0)", "(6.0, 2.0)"], "even", True),
        ([0.1, 0.1, 0.2], "even", True),
    ],
)
def test_the_scale_follows_the_spacing(dataset_of, values, kind, is_categorical):
    dataset = dataset_of([{"field": values}], {"loss": np.zeros((len(values), 2))})
    scale = scale_of(dataset, ["field"])
    assert (scale.kind, scale.is_categorical) == (kind, is_categorical)
    np.testing.assert_array_equal(scale.places, range(len(values)) if kind == "even" else values)


def test_numbers_are_put_in_order_and_categories_are_not(dataset_of):
    axes = [{"rate": [0.2, 0.1], "batch_size": [1, 2]}, {"noise": ["sgd", "levy"]}]
    dataset = dataset_of(axes, {"loss": np.arange(8.0).reshape(2, 2, 2)})
    turned = ascending(ascending(dataset, ["rate", "batch_size"]), ["noise"])
    assert turned["batch_size"].values.tolist() == [2, 1]
    assert turned["noise"].values.tolist() == ["sgd", "levy"]
    np.testing.assert_array_equal(turned["loss"].values, dataset["loss"].values[::-1])


def test_fields_that_advance_together_are_named_together(dataset_of):
    dataset = dataset_of([{"learning_rate": [0.1, 0.2], "batch_size": [1, 2]}], {"loss": np.zeros((2, 2))})
    assert scale_of(dataset, ["learning_rate", "batch_size"]).label == "learning rate (with batch size)"
    dataset = dataset_of([{"noise": ["sgd", "sgd"], "rate": [0.1, 0.25]}], {"loss": np.zeros((2, 2))})
    assert scale_of(dataset, ["noise", "rate"]).texts == ["sgd, 0.1", "sgd, 0.25"]


def test_numbers_are_written_short_but_apart(dataset_of):
    for values, texts in (
        ([0.001, 0.00345511, 1024.0], ["0.001", "0.00346", "1024"]),
        ([0.12341, 0.12342], ["0.12341", "0.12342"]),
        ([64, 123456], ["64", "123456"]),
    ):
        dataset = dataset_of([{"field": values}], {"loss": np.zeros((len(values), 2))})
        assert scale_of(dataset, ["field"]).texts == texts


@pytest.mark.parametrize("values", [np.geomspace(1e-4, 1, 33), np.linspace(1, 2, 50), np.array([1.0, 1.1, 1.2, 3])])
def test_ticks_stand_at_swept_values_and_keep_apart(dataset_of, values):
    scale = scale_of(dataset_of([{"field": values}], {"loss": np.zeros((len(values), 2))}), ["field"])
    _, panel = style.figure()
    panel.plot(scale.places, scale.places)
    draw_ticks(panel.xaxis, scale, is_even=False, room=0.03)
    ticks = panel.get_xticks()
    assert set(ticks) <= set(values)
    assert 2 <= len(ticks) <= 12
    assert panel.get_xscale() == scale.kind
    for tick, text in zip(ticks, panel.get_xticklabels(), strict=True):
        assert float(text.get_text()) == pytest.approx(tick, rel=5e-3)
    draw_ticks(panel.yaxis, scale, is_even=True, room=0.07)
    assert [scale.texts[int(i)] for i in panel.get_yticks()] == [t.get_text() for t in panel.get_yticklabels()]
