"""What a shell offers after TAB: `completion` prints the script that asks, `complete` answers it.

Nothing is imported that takes time, experiments least of all: their fields are read from their text.
"""

import argparse
import ast
import contextlib
import itertools
import json
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

from sgdsde.commands import computing, looking, searching, sweeping
from sgdsde.commands.parsing import PASSED, Parser, new_parser, parsed
from sgdsde.experiment import folders
from sgdsde.experiment.folders import ExperimentError

BASH = r"""# Completion of `sgdsde` in bash. Install it with this line in ~/.bashrc:
#     source <(sgdsde completion bash)
_sgdsde() {
    local -a words=() found=()
    local word glued="" cut
    for word in "${COMP_WORDS[@]:1:COMP_CWORD}"; do  # bash has cut the words at = and :
        if [[ ${#words[@]} -gt 0 && $COMP_WORDBREAKS == *=* && ( $word == [=:] || -n $glued ) ]]; then
            words[${#words[@]}-1]+=$word
        else
            words+=("$word")
        fi
        [[ $word == [=:] ]] && glued=yes || glued=""
    done
    IFS=$'\n' read -r -d '' -a found < <(sgdsde complete -- "${words[@]}" 2>/dev/null)
    word=${words[${#words[@]}-1]}
    [[ $COMP_WORDBREAKS == *=* ]] && cut=${word%"${word##*[=:]}"} || cut=""
    COMPREPLY=("${found[@]#"$cut"}")
    [[ ${#found[@]} -gt 0 && ${found[0]} == *[=/] ]] && compopt -o nospace 2>/dev/null
    return 0
}
complete -F _sgdsde sgdsde
"""

ZSH = r"""#compdef sgdsde
# Completion of `sgdsde` in zsh. Install it with this line in ~/.zshrc, after compinit:
#     source <(sgdsde completion zsh)
_sgdsde() {
    local -a found
    found=("${(@f)$(sgdsde complete -- "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}")
    compadd -S '' -- "${(@M)found:#*[=/]}"
    compadd -- "${(@)${(@)found:#*[=/]}:#}"
}
if [[ $funcstack[1] == _sgdsde ]]; then _sgdsde "$@"; else compdef _sgdsde sgdsde; fi
"""

FISH = r"""# Completion of `sgdsde` in fish. Install it with this command:
#     sgdsde completion fish > ~/.config/fish/completions/sgdsde.fish
function __sgdsde_complete
    set -l words (commandline -opc)
    set -e words[1]
    sgdsde complete -- $words (commandline -ct) 2>/dev/null
end
complete -c sgdsde -f -a '(__sgdsde_complete)'
"""

SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}
INSTALLATION = """\
bash: in ~/.bashrc                   source <(sgdsde completion bash)
zsh:  in ~/.zshrc, after compinit    source <(sgdsde completion zsh)
fish: once                           sgdsde completion fish > ~/.config/fish/completions/sgdsde.fish
"""


def completion_parser() -> Parser:
    """The flags of `completion`."""
    parser = new_parser(
        "completion",
        "Print the script that completes commands, experiments, flags and results in a shell.",
        epilog=INSTALLATION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=tuple(SCRIPTS), help="whose script")
    return parser


PARSERS: dict[str, Callable[[], argparse.ArgumentParser]] = {
    "run": computing.run_parser,
    "sweep": sweeping.sweep_parser,
    "search": searching.search_parser,
    "status": sweeping.status_parser,
    "show": sweeping.show_parser,
    "compare": sweeping.compare_parser,
    "reproduce": computing.reproduce_parser,
    "list": looking.list_parser,
    "plot": looking.plot_parser,
    "judge": looking.judge_parser,
    "confirm": computing.confirm_parser,
    "gallery": looking.gallery_parser,
    "completion": completion_parser,
}
"""Who knows the flags of each command."""
TAKES_FIELDS = ("run", "sweep", "search")


def print_script(arguments: list[str]) -> int:
    """The command `completion`."""
    print(SCRIPTS[parsed(completion_parser(), arguments).shell], end="")
    return PASSED


def complete(arguments: list[str]) -> int:
    """The hidden command `complete -- WORDS...`: what may stand in the place of the last word, one a line.

    It never complains: whatever is wrong with the words, the shell then has nothing to offer.
    """
    words = arguments[1:] if arguments[:1] == ["--"] else arguments
    try:
        found = sorted(
            {candidate for candidate in candidates(words or [""]) if candidate.startswith((words or [""])[-1])}
        )
    except Exception:  # a traceback between the words of a command line would help nobody
        found = []
    for candidate in found:
        print(candidate)
    return PASSED


def candidates(words: list[str]) -> Iterator[str]:
    """What may stand in the place of the last word; also some that do not begin like it."""
    *before, current = words
    if not before:
        yield from (*PARSERS, "--help", "--version")
        return
    if before[0] not in PARSERS:
        return
    command, before = before[0], before[1:]
    parser = PARSERS[command]()
    fields = _fields(before, command)
    flag, equals, _ = current.partition("=")
    if current.startswith("--") and equals:
        yield from (f"{flag}={value}" for value in _values(parser, flag, before, current, fields))
        return
    flag, num_given = _open_flag(before)
    action = parser._option_string_actions.get(flag)
    if not current.startswith("-") and _takes_more(action, flag, num_given, fields):
        yield from _values(parser, flag, before, current, fields)
        if num_given == 0 or action is None or action.nargs not in ("+", "*"):
            return
    if not current.startswith("-"):
        yield from _positionals(parser, command, before, current)
    if current or command not in TAKES_FIELDS or _file(before) is not None:
        yield from (name for name in parser._option_string_actions if name.startswith("--"))
        yield from (f"--{name}" for name in fields)
        yield from (f"--no_{name}" for name, choices in fields.items() if choices == ["true", "false"])


def _open_flag(before: list[str]) -> tuple[str, int]:
    """The last flag before the current word, and how many words stand between; ("", 0) where there is none."""
    for place in range(len(before) - 1, -1, -1):
        if before[place].startswith("--"):
            name, equals, _ = before[place].partition("=")
            return name, len(before) - 1 - place + bool(equals)
    return "", 0


def _takes_more(action: argparse.Action | None, flag: str, num_given: int, fields: dict[str, list[str]]) -> bool:
    """Whether a flag with some values may have another one."""
    if action is not None:
        return action.nargs in ("+", "*") or (num_given == 0 and action.nargs != 0)
    name = flag.removeprefix("--").replace("-", "_")
    return num_given == 0 and name in fields and fields[name] != ["true", "false"]


def _values(
    parser: argparse.ArgumentParser, flag: str, before: list[str], current: str, fields: dict[str, list[str]]
) -> Iterator[str]:
    """What may follow a flag."""
    action = parser._option_string_actions.get(flag)
    if action is None:
        yield from fields.get(flag.removeprefix("--").replace("-", "_"), [])
    elif action.choices is not None:
        yield from map(str, action.choices)
    elif flag in ("--over", "--zip", "--at"):
        yield from _assignments(current, fields if flag != "--at" else _swept_fields(before))
    elif action.dest in ("minimise", "maximise"):
        yield from _returned(_file(before))
    elif action.metavar == "DIR":
        yield from _paths(current.rpartition("=")[2], ())


def _assignments(current: str, fields: dict[str, list[str]]) -> Iterator[str]:
    """`FIELD=`, and after it the choices of the field, of which a list may name several."""
    name, equals, given = current.partition("=")
    if not equals:
        yield from (f"{field}=" for field in fields)
        return
    earlier, comma, _ = given.rpartition(",")
    yield from (f"{name}={earlier}{comma}{choice}" for choice in fields.get(name, []))


def _positionals(parser: argparse.ArgumentParser, command: str, before: list[str], current: str) -> Iterator[str]:
    """Experiments, files and results, as the metavar of the command's own arguments says."""
    metavars = [action for action in parser._actions if not action.option_strings]
    kinds = {kind for action in metavars for kind in str(action.metavar or "").split("|")}
    yield from (str(choice) for action in metavars for choice in action.choices or ())
    is_named = kinds == {"FILE"} and _file(before) is not None
    if kinds & {"FILE", "NAME"} and not is_named:
        with contextlib.suppress(ExperimentError):  # there is no folder of experiments
            yield from folders.experiment_files(folders.experiments_folder(_given(before, "--experiments")))
    if "FILE" in kinds and not is_named:
        yield from _paths(current, (".py", ".toml") if command == "sweep" else (".py",))
    if "DIR" in kinds:
        found: list[str] = []
        with contextlib.suppress(ExperimentError):
            found += _results(_given(before, "--experiments"))
        yield from found
        yield from (path for path in _paths(current, ()) if path.rstrip("/") not in found)


def _given(before: list[str], flag: str) -> str | None:
    """The value of a flag among some words."""
    after = (word for name, word in itertools.pairwise(before) if name == flag)
    return next(after, None) or next((word.partition("=")[2] for word in before if word.startswith(f"{flag}=")), None)


def _paths(current: str, suffixes: tuple[str, ...]) -> Iterator[str]:
    """Folders, with a slash, and files of some kinds that begin like a word."""
    start, slash, _ = current.rpartition("/")
    folder = Path(start + slash).expanduser()
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir() and not path.name.startswith((".", "__")):
            yield f"{start}{slash}{path.name}/"
        elif path.suffix in suffixes:
            yield f"{start}{slash}{path.name}"


def _results(experiments: str | None) -> Iterator[str]:
    """The folders of results, under runs/ and results/ of the project."""
    home = folders.experiments_folder(experiments).parent
    for pattern in ("results/*", "runs/*/[!.]*"):
        for folder in home.glob(pattern):
            if any((folder / file).is_file() for file in ("provenance.json", "sweep.json", "search.json")):
                yield folders.shown(folder)


def _file(before: list[str]) -> Path | None:
    """The experiment file that some words name."""
    for word in before:
        if word.startswith("-") or "=" in word:
            continue
        named = Path(word).expanduser()
        try:
            if named.suffix == ".toml" and named.is_file():
                word = str(tomllib.loads(named.read_text(encoding="utf-8")).get("experiment"))
            return folders.experiment_file(word, _given(before, "--experiments"))
        except (ExperimentError, ValueError):  # the value of a flag, or a mistake
            continue
    return None


def _fields(before: list[str], command: str) -> dict[str, list[str]]:
    """The fields of the named experiment's Config, each with its choices: those of a Literal or a bool, else none."""
    file = _file(before) if command in TAKES_FIELDS else None
    if file is None:
        return {}
    found: dict[str, list[str]] = {}
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == "Config":
            for entry in node.body:
                if isinstance(entry, ast.AnnAssign) and isinstance(entry.target, ast.Name):
                    found[entry.target.id] = _choices(entry.annotation)
    return found


def _choices(annotation: ast.expr) -> list[str]:
    if isinstance(annotation, ast.Name) and annotation.id == "bool":
        return ["true", "false"]
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value).split(".")[-1] == "Literal":
        entries = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        return [str(entry.value) for entry in entries if isinstance(entry, ast.Constant)]
    return []


def _returned(file: Path | None) -> Iterator[str]:
    """The names of the arrays that `run` of a file is seen to return."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body if file else ():
        if isinstance(node, ast.FunctionDef) and node.name == "run":
            for inner in ast.walk(node):
                keys = inner.keys if isinstance(inner, ast.Dict) else ()
                yield from (key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str))


def _swept_fields(before: list[str]) -> dict[str, list[str]]:
    """The fields of the sweep whose folder is among some words, each with its values."""
    for word in before:
        file = Path(word).expanduser() / "sweep.json"
        if file.is_file():
            axes = json.loads(file.read_bytes())["axes"]
            return {name: [str(value) for value in values] for axis in axes for name, values in axis.items()}
    return {}
