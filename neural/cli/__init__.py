"""The command line: parse, validate, call one function.

One module per command, imported when it is asked for; torch is imported by the work, not by the asking for
help. Exit codes: 0 done, 1 this machine lacks something or the training diverged, 2 usage, 3 bad input, 130
and 143 interrupted and saved.
"""

import importlib
import io
import os
import sys
from collections.abc import Sequence

import neural
from neural.errors import BadOption, CheckpointError, NeuralError, NotSaved, SceneFormatError
from neural.interrupt import EXIT_DONE, EXIT_INPUT, EXIT_PROBLEM, EXIT_USAGE, Interrupted, stoppable
from neural.settings import nearest

# command -> (module with `main(arguments) -> exit code`, what it does)
COMMANDS = {
    "reconstruct": ("neural.cli.reconstruct", "photographs or a video to a trained scene:  neural reconstruct PHOTOS"),
    "train": ("neural.cli.train", "train a task on data:  neural train splats SCENE"),
    "eval": ("neural.cli.eval", "score a run"),
    "render": ("neural.cli.render", "render a video or a picture of a run"),
    "view": ("neural.cli.view", "look at a run or a file of Gaussians in a browser"),
    "export": ("neural.cli.export", "write what a run has trained as a file for other programs"),
    "edit": ("neural.cli.edit", "crop, move, merge, clean or thin out Gaussians:  neural edit crop IN OUT"),
    "info": ("neural.cli.info", "say what a scene, another input or a run holds"),
    "doctor": ("neural.cli.doctor", "check this installation and say what is missing"),
}

# What `neural` alone answers: the way from data to something to look at.
START = (
    ("neural reconstruct PHOTOS --out RUN", "photographs or a video to a trained scene"),
    ("neural view RUN", "look at it in a browser"),
    ("neural export RUN page.html", "a page to send; .spz, .ply ... for other programs"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Without the program's name; those of the process by default.

    Returns:
        The exit code.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files may be of any bytes
    try:
        with stoppable():
            return _run(arguments)
    except (UsageError, BadOption) as error:
        return _complain(str(error), EXIT_USAGE)
    except NotSaved as error:
        return _complain(str(error), EXIT_PROBLEM)
    except (SceneFormatError, CheckpointError) as error:
        return _complain(str(error), EXIT_INPUT)
    except BrokenPipeError:  # `neural info RUN | head -1`: nobody reads on, and nothing is wrong
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still to be flushed goes here
        return EXIT_PROBLEM
    except (NeuralError, OSError) as error:  # a full disk, a folder that may not be written
        return _complain(str(error), EXIT_PROBLEM)
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        return stop.exit_code


class UsageError(Exception):
    """What was typed cannot be meant; the message says what to type."""


def choose(what: str, name: str, names: Sequence[str]) -> str:
    """`name` if it is one of `names`.

    Raises:
        UsageError: With the nearest name.
    """
    if name not in names:
        raise UsageError(f"no {what} {name!r}{nearest(name, names)}")
    return name


def _run(arguments: list[str]) -> int:
    if not arguments:
        print(_start())
        return EXIT_USAGE
    if arguments[0] in ("-h", "--help"):
        print(_help())
        return EXIT_DONE
    if arguments[0] in ("-V", "--version"):
        print(f"neural {neural.__version__}")
        return EXIT_DONE
    module, _ = COMMANDS[choose("command", arguments[0], list(COMMANDS))]
    try:
        return importlib.import_module(module).main(arguments[1:])
    except SystemExit as leave:  # tyro has printed help (0) or what is wrong with the arguments (2)
        return leave.code if isinstance(leave.code, int) else EXIT_USAGE


def _start() -> str:
    width = max(len(command) for command, _ in START)
    rows = "\n".join(f"  {command:<{width}}   {what}" for command, what in START)
    return (
        f"neural {neural.__version__}: photographs in, a trained scene out.\n\n{rows}\n\n"
        "neural --help lists all commands; neural doctor checks this installation."
    )


def _help() -> str:
    rows = "\n".join(f"  {name:<11} {what}" for name, (_, what) in COMMANDS.items())
    return (
        "usage: neural COMMAND [ARGUMENTS]\n\n"
        f"Neural graphics: photographs in, a trained scene out. Version {neural.__version__}.\n\n"
        f"commands:\n{rows}\n\n"
        "neural COMMAND --help lists what a command takes; neural --version prints the version."
    )


def _complain(message: str, code: int) -> int:
    print(f"neural: {message}", file=sys.stderr)
    return code
