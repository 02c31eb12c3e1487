"""The colours are told apart, also by readers with a colour deficiency, and figures are reproducible."""

import itertools

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from sgdsde import style

# Vienot, Brettel and Mollon (1999): what a protanope and a deuteranope see, on linear RGB.
DEFICIENCIES = {
    "none": np.eye(3),
    "protanopia": np.array([[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]]),
    "deuteranopia": np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]]),
}


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_colours_differ(deficiency):
    linear = {name: np.array(to_rgb(colour)) ** 2.2 for name, colour in style.COLOURS.items()}
    seen = {name: np.clip(DEFICIENCIES[deficiency] @ value, 0, 1) ** (1 / 2.2) for name, value in linear.items()}
    for one, other in itertools.combinations(seen, 2):
        assert np.linalg.norm(seen[one] - seen[other]) > 0.1, (one, other)


def test_line_styles_differ_where_colour_is_not_enough():
    lines = [(str(line["linestyle"]), line["marker"]) for line in map(style.line, style.COLOURS)]
    assert len(set(lines)) == len(lines)
    with pytest.raises(KeyError, match="no colour for 'sgd'"):
        style.line("sgd")


def test_the_style_stays_within_its_figures(tmp_path):
    before = dict(matplotlib.rcParams)
    drawn, axes = style.figure(1, 2, sharey=True)
    axes[0].plot([0, 1], [0, 1], **style.line("theory"))
    style.save(drawn, tmp_path)
    first = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    style.save(drawn, tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == first
    assert set(first) == {"figure.pdf", "figure.png"}
    assert b"/Type3" not in first["figure.pdf"]
    assert dict(matplotlib.rcParams) == before
