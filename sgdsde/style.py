"""The look of every figure: colours, line styles and sizes, and nothing else.

The colours are those of Okabe and Ito (2008) and one of Tol (2021), told apart by readers with any of the common
colour deficiencies; a line style and a marker go with each, so that a figure also reads in grey.
"""

import io
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

COLOURS = {
    "SGD": "#000000",
    "isotropic": "#0072B2",
    "anisotropic": "#D55E00",
    "levy": "#CC79A7",
    "diagonal": "#56B4E9",
    "constant": "#E69F00",
    "theory": "#009E73",
    "gibbs": "#882255",
}
"""One colour for each dynamics or prediction, the same in every figure."""

_LINES = {
    "SGD": ("-", "o"),
    "isotropic": ("--", "s"),
    "anisotropic": ("-.", "^"),
    "levy": (":", "D"),
    "diagonal": ((0, (5, 1)), "v"),
    "constant": ((0, (3, 1, 1, 1)), "P"),
    "theory": ("-", ""),
    "gibbs": ("--", ""),
}

RC = {
    "font.size": 9.0,
    "axes.titlesize": 9.0,
    "axes.labelsize": 9.0,
    "legend.fontsize": 8.0,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.0,
    "legend.frameon": False,
    "figure.dpi": 100.0,
    "figure.constrained_layout.use": True,
    "image.cmap": "viridis",
    "pdf.fonttype": 42,  # TrueType: text stays text, and journals accept it
    "ps.fonttype": 42,
}

PANEL_WIDTH = 3.4
PANEL_HEIGHT = 2.6
PNG_DPI = 160


def line(name: str) -> dict[str, Any]:
    """The keyword arguments of `Axes.plot` for one dynamics or prediction: color, linestyle, marker.

    Raises:
        KeyError: `name` is not in `COLOURS`.
    """
    if name not in COLOURS:
        raise KeyError(f"style has no colour for {name!r}; it has {', '.join(COLOURS)}")
    linestyle, marker = _LINES[name]
    return {"color": COLOURS[name], "linestyle": linestyle, "marker": marker}


def context() -> AbstractContextManager:
    """Within this context every figure has the style; the runner draws and saves in it."""
    import matplotlib
    from cycler import cycler

    return matplotlib.rc_context(RC | {"axes.prop_cycle": cycler(color=list(COLOURS.values()))})


def figure(
    num_rows: int = 1, num_columns: int = 1, *, width: float | None = None, height: float | None = None, **kwargs: Any
) -> tuple[Any, Any]:
    """A styled figure and its axes, with no window and no global state.

    Args:
        num_rows, num_columns: of panels.
        width, height: of the whole figure, inches; by default 3.4 x 2.6 a panel.
        **kwargs: given to `Figure.subplots`, such as `sharex` or `squeeze`.

    Returns:
        The figure and what `Figure.subplots` returns: one axes for a single panel, else an array of them.
    """
    from matplotlib.figure import Figure

    with context():
        drawn = Figure(figsize=(width or PANEL_WIDTH * num_columns, height or PANEL_HEIGHT * num_rows))
        return drawn, drawn.subplots(num_rows, num_columns, **kwargs)


def save(drawn: Any, folder: Path) -> None:
    """Write `figure.pdf` and `figure.png` without a date, so that the same figure gives the same bytes."""
    for name, options in (
        ("figure.pdf", {"metadata": {"CreationDate": None}}),
        ("figure.png", {"metadata": {"Software": None}, "dpi": PNG_DPI}),
    ):
        image = io.BytesIO()  # drawn in memory first: a disk that is full is then one plain error
        with context():
            drawn.savefig(image, format=name.rpartition(".")[2], **options)
        (folder / name).write_bytes(image.getvalue())
