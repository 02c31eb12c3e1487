"""The programs that are timed side by side, one file each; `PROGRAMS` in the order of the table, ours first."""

from scripts.peers import (
    c_program,
    choice_optax,
    diffrax_euler,
    full_batch,
    numpy_loop,
    optax_loop,
    ours,
    plain,
    torch_loop,
    torchsde_euler,
)
from scripts.peers.program import Program

__all__ = ["PROGRAMS", "Program"]

PROGRAMS: tuple[Program, ...] = (
    *ours.PROGRAMS,
    *plain.PROGRAMS,
    *diffrax_euler.PROGRAMS,
    *numpy_loop.PROGRAMS,
    *torch_loop.PROGRAMS,
    *torchsde_euler.PROGRAMS,
    *c_program.PROGRAMS,
    *choice_optax.PROGRAMS,
    *full_batch.PROGRAMS,
    *optax_loop.PROGRAMS,
)
