"""The commands of sweeps: `sweep`, and `status`, `show`, `compare`, which read what it wrote."""

import argparse
import sys
from pathlib import Path
from typing import Any

from sgdsde.commands.parsing import (
    BROKEN,
    PASSED,
    add_experiments_flag,
    add_file_flags,
    complain,
    config_of,
    loaded,
    new_parser,
    parsed,
    unwritten,
)
from sgdsde.experiment import folders
from sgdsde.experiment.folders import ExperimentError, shown

SWEEP_EXAMPLES = """\
axes: FIELD=0.01,0.02,0.04   a list          FIELD=0:1:5         five equally spaced values
      FIELD=1:64:log2        doubling        FIELD=1e-3:1:7:log  seven values in equal ratios

examples:
  sgdsde sweep double_well_gibbs --over barrier=0.05,0.1,0.2 batch_size=4:16:log2 --seeds 8 --smoke
  sgdsde sweep double_well_gibbs --over correlation=0:0.9:4 --zip learning_rate=0.05,0.1 batch_size=4,8 --dry-run
  sgdsde sweep my_loss.py --zip learning_rate=0.1,0.2,0.4 batch_size=8,16,32 --seeds 8 --num_steps 2000
  sgdsde sweep sweep.toml --launcher slurm --partition gpu --time 120 --gpus 1
"""


def sweep_parser() -> argparse.ArgumentParser:
    parser = new_parser(
        "sweep",
        "Compute an experiment over many values and seeds; the result is runs/NAME/sweep-<hash>/. The same command "
        "goes on where it was stopped, and processes that run it at the same time share the work.",
        add_help=False,
        epilog=SWEEP_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", nargs="?", metavar="FILE", help="an experiment (file or name), or a TOML sweep file")
    axes = parser.add_argument_group("what is swept")
    axes.add_argument("--over", nargs="+", action="extend", default=[], metavar="AXIS", help="axes; all combinations")
    axes.add_argument(
        "--zip", nargs="+", action="append", default=[], metavar="AXIS", help="fields that advance together"
    )
    axes.add_argument("--seeds", type=int, metavar="N", help="seeds of each point, from --seed on; 1 by default")
    axes.add_argument(
        "--physical_time", type=float, metavar="T",
        help="the same time for all points: num_steps = T (1 - momentum) / learning_rate; one compilation a rate",
    )  # fmt: skip
    parser.add_argument(
        "--dry-run", action="store_true", help="print points, compilations, memory and time; write nothing"
    )
    parser.add_argument("--no-checks", action="store_true", help="do not ask the experiment's checks of each run")
    parser.add_argument(
        "--chunk", type=int, metavar="N", help="runs in one chunk; by default as many as fill the devices"
    )
    add_file_flags(parser)
    where = parser.add_argument_group("where it runs; by default here, on all local devices")
    where.add_argument(
        "--distributed", nargs="?", const="", metavar="HOST:PORT,COUNT,PLACE",
        help="all devices of several hosts, by jax.distributed; without a value from the cluster's environment",
    )  # fmt: skip
    where.add_argument(
        "--launcher", choices=("local", "slurm"), help="processes on this machine, or jobs of a Slurm cluster"
    )
    where.add_argument(
        "--workers", type=int, metavar="N", help="local: how many processes; slurm: how many jobs at a time"
    )
    where.add_argument("--per", choices=("group", "chunk"), default="group", help="slurm: what one job computes")
    where.add_argument("--partition", metavar="NAME", help="slurm: the partition")
    where.add_argument("--time", type=float, metavar="MINUTES", help="slurm: longest time of a job")
    where.add_argument("--gpus", type=int, metavar="N", help="slurm: GPUs of a job")
    return parser


def sweep(arguments: list[str]) -> int:
    parser = sweep_parser()
    given, rest = parser.parse_known_args(arguments)
    if given.file is None:
        if not given.help:
            raise ExperimentError("Name the experiment first: sgdsde sweep FILE --over FIELD=VALUES --seeds N.")
        print(parser.format_help())
        return PASSED
    found, experiment = _asked_for(given)
    from sgdsde.sweeps.specification import base_config, sweep_of

    default = base_config(experiment, found, smoke=given.smoke)
    config = config_of(parser, given, rest, experiment, "sweep", default)
    asked = {"num_seeds": given.seeds, "physical_time": given.physical_time, "smoke": given.smoke}
    asked |= {"over": given.over, "zipped": given.zip, "found": found, "asks_checks": not given.no_checks}
    swept = sweep_of(experiment, config, **asked)
    _check_flags(given)
    home = folders.home(experiment.file, given.experiments)
    runs = Path(given.output or home / "runs")
    from sgdsde.experiment import provenance
    from sgdsde.experiment.device import choose_device, join_hosts

    if given.distributed is not None:
        join_hosts(given.distributed)
    choose_device(float64=given.float64, device=given.device)
    if given.dry_run:
        return _dry_run(swept, given)
    command = provenance.command_line(["sweep", *arguments], home)
    try:
        folder = _computed(swept, given, runs, command)
    except OSError as error:
        sys.exit(complain(unwritten(error, runs), BROKEN))
    import jax

    return _show(folder) if jax.process_index() == 0 else PASSED


def _asked_for(given: argparse.Namespace) -> tuple[dict[str, Any], Any]:
    """What the TOML file says, if one is named, and the experiment."""
    file = Path(given.file)
    if file.suffix != ".toml":
        return {}, loaded(given.file, given.experiments)
    if not file.is_file():
        raise ExperimentError(f"{given.file}: there is no such file.")
    from sgdsde.sweeps.specification import read_toml

    found = read_toml(file)
    return found, loaded(str(folders.named_file(found["experiment"], given.experiments)), given.experiments)


def _check_flags(given: argparse.Namespace) -> None:
    for flag in ("chunk", "workers"):
        value = getattr(given, flag)
        if value is not None and value < 1:
            raise ExperimentError(f"--{flag}: expected at least 1, got {value}.")
    if given.launcher != "slurm":
        for flag in ("partition", "time", "gpus"):
            if getattr(given, flag) is not None:
                raise ExperimentError(f"--{flag} is for --launcher slurm.")
    if given.workers is not None and given.launcher is None:
        raise ExperimentError("--workers is for --launcher local or slurm.")
    if given.launcher is not None and given.distributed is not None:
        raise ExperimentError(
            "--distributed and --launcher exclude each other: hosts of one program, or separate jobs."
        )


def _computed(swept: Any, given: argparse.Namespace, runs: Path, command: str) -> Path:
    options = {"size": given.chunk, "fresh": given.fresh, "command": command}
    if given.launcher is None:
        from sgdsde.sweeps.execution import run_sweep

        return run_sweep(swept, runs, **options)
    from sgdsde.sweeps.jobs import Cluster, launch

    cluster = Cluster(given.launcher, given.workers, given.per, given.partition, given.time, given.gpus)
    return launch(swept, runs, cluster, float64=given.float64, device=given.device, **options)


def _dry_run(swept: Any, given: argparse.Namespace) -> int:
    from sgdsde.sweeps.estimate import estimated
    from sgdsde.sweeps.planning import planned
    from sgdsde.sweeps.progress import print_plan

    plan = planned(swept, given.chunk)
    print_plan(swept, plan, estimated(swept, plan))
    return PASSED


def _show(folder: Path) -> int:
    if not (folder / "provenance.json").exists():  # submitted to a cluster
        print(f"sgdsde status {shown(folder)}")
        return PASSED
    from sgdsde.loading import load
    from sgdsde.sweeps.reading.tables import print_sweep

    dataset = load(folder)
    print_sweep(dataset)
    print(f"figure: {shown(folder / 'figure.png')}")
    return BROKEN if bool(dataset["failed"].all()) else PASSED


def status_parser() -> argparse.ArgumentParser:
    parser = new_parser(
        "status", "How far a sweep is: what is done, running, failed and why, and the time left.",
        epilog="example:\n  sgdsde status runs/double_well_gibbs/sweep-0123456789ab",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("folder", metavar="DIR", help="the folder of a sweep, or of a single result")
    return parser


def status(arguments: list[str]) -> int:
    folder = Path(parsed(status_parser(), arguments).folder)
    from sgdsde.sweeps.progress import print_progress

    print_progress(folder)
    return PASSED


def show_parser() -> argparse.ArgumentParser:
    parser = new_parser(
        "show", "The numbers of a result or of a sweep as a table, with verdicts.",
        epilog="examples:\n  sgdsde show double_well_gibbs\n"
        "  sgdsde show runs/double_well_gibbs/sweep-0123456789ab --values second_moment",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument(
        "result", metavar="DIR|NAME", help="the folder of a sweep or of a result, or an experiment's name"
    )
    parser.add_argument(
        "--values", nargs="+", metavar="NAME", help="of a sweep: which values; by default those that fit"
    )
    parser.add_argument("--all", action="store_true", help="of a result: every check, not only the ten worst")
    add_experiments_flag(parser)
    return parser


def show(arguments: list[str]) -> int:
    given = parsed(show_parser(), arguments)
    from sgdsde.commands.computing import show_result
    from sgdsde.commands.looking import result_folder

    folder = result_folder(given.result, given.experiments)
    if (folder / "search.json").is_file():
        from sgdsde.experiment import results
        from sgdsde.searches.result import print_search

        results.verified(folder)
        print_search(folder)
        return PASSED
    if not (folder / "sweep.json").is_file():
        from sgdsde.experiment import results

        results.verified(folder)
        return show_result(folder, everything=given.all)
    from sgdsde.loading import load
    from sgdsde.sweeps.reading.tables import print_sweep

    print_sweep(load(folder), given.values)
    return PASSED


def compare_parser() -> argparse.ArgumentParser:
    parser = new_parser(
        "compare", "Two sweeps of one experiment, value by value: the difference in standard errors.",
        epilog="example:\n  sgdsde compare runs/toy/sweep-0123456789ab runs/toy/sweep-ba9876543210",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    for name in ("first", "second"):
        parser.add_argument(name, metavar="DIR", help="the folder of a sweep")
    return parser


def compare(arguments: list[str]) -> int:
    given = parsed(compare_parser(), arguments)
    from sgdsde.loading import load
    from sgdsde.sweeps.reading.tables import print_comparison

    print_comparison(*(load(Path(folder)) for folder in (given.first, given.second)))
    return PASSED
