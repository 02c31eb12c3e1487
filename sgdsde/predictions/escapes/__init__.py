"""How long a well holds: exact first-passage times, Kramers' rate, Levy jumps, clipped updates, occupations."""

from sgdsde.predictions.escapes.barriers import basin_occupations, kramers_rate, moved_boundary
from sgdsde.predictions.escapes.chains import ChainExit, chain_exit_steps
from sgdsde.predictions.escapes.first_passage import IntervalExit, PassageTime, first_passage_time, interval_exit
from sgdsde.predictions.escapes.levy import clipped_exit_exponent, free_levy_exit_time, levy_escape_rate

__all__ = [
    "ChainExit",
    "IntervalExit",
    "PassageTime",
    "basin_occupations",
    "chain_exit_steps",
    "clipped_exit_exponent",
    "first_passage_time",
    "free_levy_exit_time",
    "interval_exit",
    "kramers_rate",
    "levy_escape_rate",
    "moved_boundary",
]
