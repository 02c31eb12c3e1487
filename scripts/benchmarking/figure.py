"""The figure: chain-steps per second of the double well against the number of chains, a line for each program."""

from pathlib import Path
from typing import Any

from sgdsde import style

__all__ = ["save_figure"]

LOOKS = {  # colour, line style, marker
    "ours": ("#0072B2", "-", "o"),
    "ours, inside jit": ("#0072B2", "--", "o"),
    "plain": ("#000000", "-", "s"),
    "diffrax, UnsafeBrownianPath": ("#D55E00", "-", "^"),
    "diffrax, VirtualBrownianTree": ("#D55E00", ":", "v"),
    "NumPy": ("#009E73", "-", "D"),
    "PyTorch by hand": ("#CC79A7", "-", "P"),
    "torchsde": ("#CC79A7", ":", "X"),
    "C, AVX-512, all cores": ("#E69F00", "-.", "*"),
}


def save_figure(result: dict[str, Any], file: Path) -> None:
    """Write the figure as PNG without a date; nothing where the double well was not measured."""
    rows = [row for row in result["rows"] if row["work"] == "double_well"]
    if not rows:
        return
    drawn, panel = style.figure(width=6.4, height=4.2)
    for name, (colour, linestyle, marker) in LOOKS.items():
        points = [
            (row["num_chains"], row["programs"][name]["rate"])
            for row in rows
            if "rate" in row["programs"].get(name, {})
        ]
        if points:
            panel.plot(*zip(*points), color=colour, linestyle=linestyle, marker=marker, label=name)
    if result["roofline"]:
        limit = result["roofline"]["chain_steps_per_second"]
        panel.axhline(limit, color="#882255", linestyle="--", label="arithmetic alone, 150 instructions a step")
    panel.set(xscale="log", yscale="log", xlabel="number of chains", ylabel="chain-steps per second")
    panel.set_title(f"double well, float32; {result['machine']['processor']}, {result['machine']['device']}")
    panel.legend(fontsize=7, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.14))
    with style.context():
        drawn.savefig(file, dpi=style.PNG_DPI, metadata={"Software": None})
