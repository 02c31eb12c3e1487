"""The command that searches: `search`."""

import argparse
from pathlib import Path

from sgdsde.commands.parsing import (
    BROKEN,
    PASSED,
    Parser,
    add_file_flags,
    complain,
    config_of,
    loaded,
    new_parser,
    unwritten,
)
from sgdsde.experiment import folders
from sgdsde.experiment.folders import ExperimentError

EXAMPLE = "sgdsde search FILE --over learning_rate=0.001:1:log batch_size=1:64:log --minimise NAME --trials 50"
SPACES = f"""\
example:
  {EXAMPLE}

FIELD=SPACE is
  a:b         every number from a to b; whole ones for an int field
  a:b:log     the same, equal ratios being as likely as each other
  x,y,z       a choice among values; so is a range that `sgdsde sweep` takes, such as 1:64:log2

NAME is an array of run() (the mean of its entries), one entry NAME[index], or check:NAME, the measured number of a
check; always its mean over seeds. A trial whose value is not finite is kept as failed.

The same command goes on where an earlier one stopped, with a larger --trials too; several processes may work at it.
"""


def search_parser() -> Parser:
    """The flags of `search`."""
    parser = new_parser(
        "search",
        "Search the values of some fields that make a number of the experiment small or large.",
        epilog=SPACES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    parser.usage = "sgdsde search FILE --over FIELD=SPACE ... [flags] [--FIELD VALUE ...]"
    parser.add_argument("file", nargs="?", metavar="FILE", help="an experiment file, or the name of an experiment")
    parser.add_argument(
        "--over", nargs="+", action="extend", metavar="FIELD=SPACE", help="the fields that are searched, and where"
    )
    for names, text in ((("--minimise", "--minimize"), "small"), (("--maximise", "--maximize"), "large")):
        parser.add_argument(*names, dest=names[0][2:], metavar="NAME", help=f"the number that is made {text}")
    parser.add_argument("--trials", type=int, metavar="N", help="how many in all, those of earlier runs among them")
    parser.add_argument(
        "--seeds", type=int, default=1, metavar="K", help="runs of each trial, with seeds seed, seed + 1, ..."
    )
    text = "trials computed together; by default 4"
    parser.add_argument("--at-once", dest="at_once", type=int, default=4, metavar="N", help=text)
    add_file_flags(parser)
    return parser


def search(arguments: list[str]) -> int:
    """Search, and show the best trials and the command that runs the best one."""
    parser = search_parser()
    given, rest = parser.parse_known_args(arguments)
    if given.file is None and given.help:
        print(parser.format_help(), end="")
        return PASSED
    if given.file is None:
        raise ExperimentError(f"Name the experiment first: {EXAMPLE}. `sgdsde list` names all.")
    experiment = loaded(given.file, given.experiments)
    default = experiment.smoke if given.smoke else experiment.config_class()
    config = config_of(parser, given, rest, experiment, "search", default)
    if not given.over:
        raise ExperimentError(f"Say which fields to search: {EXAMPLE}.")
    if (given.minimise is None) == (given.maximise is None):
        raise ExperimentError("Say what to search for: either --minimise NAME or --maximise NAME.")
    if given.trials is None:
        raise ExperimentError("Say how many points to try: --trials N.")
    from sgdsde.experiment import provenance
    from sgdsde.experiment.device import choose_device
    from sgdsde.searches.result import print_search
    from sgdsde.searches.running import run_search, search_of
    from sgdsde.searches.space import space_of
    from sgdsde.sweeps.axes import parsed_assignments

    space = space_of(config, parsed_assignments(given.over))
    already = [token for token in rest if token.startswith("--")]
    for name in (part.field for part in space):
        if any(token[2:].partition("=")[0].replace("-", "_") in (name, f"no_{name}") for token in already):
            raise ExperimentError(f"{name} is searched by --over and set by --{name}; give one of them.")
    choose_device(float64=given.float64, device=given.device)
    home = folders.home(experiment.file, given.experiments)
    runs = Path(given.output or home / "runs")
    name, sizes = given.minimise or given.maximise, {"num_seeds": given.seeds, "smoke": given.smoke}
    asked = search_of(experiment, config, space, name, is_maximised=given.minimise is None, **sizes)
    command = provenance.command_line(["search", *arguments], home)
    try:
        folder = run_search(
            asked, runs, num_trials=given.trials, at_once=given.at_once, fresh=given.fresh, command=command
        )
    except OSError as error:
        return complain(unwritten(error, runs), BROKEN)
    if not print_search(folder):
        return complain("No trial has a value; trials.csv gives the reason of each.", BROKEN)
    return PASSED
