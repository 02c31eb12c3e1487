"""The command `sgdsde`.

Only a command that names an experiment imports it, and JAX with it. The fixed flags are parsed by argparse, because
tyro alone takes 0.4 s to load and `--help` must answer at once; the flags of a Config are made by tyro.
"""

import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from sgdsde.commands.completion import complete, print_script
from sgdsde.commands.computing import confirm, reproduce, run
from sgdsde.commands.looking import gallery, judge, list_experiments, plot
from sgdsde.commands.parsing import BROKEN, INTERRUPTED, MISTAKE, PASSED, complain, unwritten
from sgdsde.commands.searching import search
from sgdsde.commands.surroundings import (
    all_written,
    is_of_output,
    no_interrupt_is_lost,
    output_lost,
    write_what_can_be_written,
)
from sgdsde.commands.sweeping import compare, show, status, sweep
from sgdsde.experiment import folders
from sgdsde.experiment.folders import ExperimentError

HELP = """\
sgdsde: stochastic gradient descent beside its stochastic differential equations.

usage: sgdsde COMMAND ...

  run FILE [--FIELD VALUE ...]   compute one experiment, judge it, save and show the result (under runs/)
  reproduce NAME ... | --all     compute experiments as published, into results/NAME/
  sweep FILE --over AXIS ...     compute an experiment over many values and seeds, under runs/
  search FILE --over RANGE ...   the values at which a number is smallest or largest, under runs/
  status DIR                     how far a sweep is
  show DIR | NAME                the numbers of a sweep or a result, with verdicts
  compare DIR DIR                two sweeps, value by value
  list                           the experiments and what each one shows
  plot DIR | NAME                draw saved arrays again; rewrites figure and provenance in place
  judge DIR | NAME               ask the checks of saved arrays again; rewrites verdict, figure and provenance in place
  gallery                        write results/README.md, and the results in README.md, from the verdicts
  confirm NAME ... | --all       does today's code still make a committed result? asked of its smoke run
  completion bash | zsh | fish   print what makes TAB complete commands, experiments and fields

`sgdsde COMMAND --help` shows the flags of a command, `sgdsde run FILE --help` those of an experiment.
  --version                      print the version
  -h, --help                     print this

examples:
  sgdsde list
  sgdsde run double_well_gibbs --smoke
  sgdsde run experiments/double_well_gibbs.py --learning_rate 0.02 --seed 3
  sgdsde sweep double_well_gibbs --over barrier=0.05,0.1,0.2 batch_size=4:16:log2 --seeds 8 --smoke
  sgdsde reproduce --all

exit status: 0 done and passed; 1 a check failed; 2 a mistake in the command or the values; 3 the computation or the
disk failed; 130 interrupted. The verdicts of `sweep`, and of `show` of a sweep, do not count: a sweep explores. Its
failed runs are told in its table; where every run failed, `sweep` ends with 3.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; a user's mistake is printed as one paragraph."""
    write_what_can_be_written()
    with no_interrupt_is_lost():
        return all_written(_answered(list(sys.argv[1:] if arguments is None else arguments)))


def _answered(arguments: list[str]) -> int:
    try:
        if not arguments or arguments[0] in ("-h", "--help", "help"):
            print(HELP, end="", flush=True)
            return PASSED if arguments else MISTAKE
        if arguments[0] == "--version":
            print(f"sgdsde {_version()}")
            return PASSED
        if arguments[0] not in COMMANDS:
            named = [name for name in COMMANDS if name != "complete"]
            raise ExperimentError(f"There is no command `{arguments[0]}`. {folders.nearest(arguments[0], named)}")
        folders.check_current_folder()
        return COMMANDS[arguments[0]](arguments[1:])
    except ExperimentError as error:
        return complain(str(error), MISTAKE)
    except SystemExit as leave:  # --help of a command, or a failure already explained
        return leave.code if isinstance(leave.code, int) else PASSED
    except KeyboardInterrupt:
        message = "Interrupted. The same command goes on where this one stopped; complete results are untouched."
        return complain(message, INTERRUPTED, label="")
    except OSError as error:
        if is_of_output(error):
            return output_lost(error)
        return complain(unwritten(error, Path.cwd()), BROKEN)
    except Exception as error:  # Python's own status for it, 1, would mean that a check failed
        traceback.print_exc()
        message = f"This is a fault of sgdsde, or of a package beneath it: {type(error).__name__}: {error}"
        return complain(message, BROKEN)


def _version() -> str:
    import importlib.metadata

    try:
        return importlib.metadata.version("sgdsde")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed: running from its source)"


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "run": run,
    "sweep": sweep,
    "search": search,
    "status": status,
    "show": show,
    "compare": compare,
    "reproduce": reproduce,
    "list": list_experiments,
    "plot": plot,
    "judge": judge,
    "confirm": confirm,
    "gallery": gallery,
    "completion": print_script,
    "complete": complete,
}
