"""The command ``ltdl``."""

import argparse
import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import sklearn_ltdl
from sklearn_ltdl.study._methods import METHODS
from sklearn_ltdl.study._sets import DEMONSTRATION, EMBEDDED
from sklearn_ltdl.study._study import compare
from sklearn_ltdl.study._tables import read_table, split_target

DONE, SOME_FAILED, BAD_USAGE, INTERRUPTED = 0, 1, 2, 130


def main(argv=None):
    """Run the command line and return its exit code."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        return _compare(arguments, shlex.join(["ltdl", *(sys.argv[1:] if argv is None else argv)]))
    except (ValueError, TypeError, OSError, ImportError, RuntimeError) as error:
        print(f"ltdl compare: {error}", file=sys.stderr)
        return BAD_USAGE
    except KeyboardInterrupt:
        print("ltdl compare: interrupted", file=sys.stderr)
        return INTERRUPTED


def _parser():
    parser = argparse.ArgumentParser(prog="ltdl", description="Questions of deep learning theory, asked of your table.")
    parser.add_argument("--version", action="version", version=f"ltdl {sklearn_ltdl.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser(
        "compare",
        help="does this table need feature learning?",
        description="Compare linear models, kernels, lazy and rich networks and trees on the same folds of a table, "
        "and say in one sentence which kind of model it needs, or that the rows cannot tell.",
        epilog="Exit status: 0 done, 1 some models failed, 2 bad usage or data, 130 interrupted.",
    )
    command.add_argument(
        "data",
        nargs="?",
        default=DEMONSTRATION,
        metavar="DATA",
        help=f"CSV or TSV file with a header, or one of {', '.join(EMBEDDED)} (default: {DEMONSTRATION})",
    )
    command.add_argument("--target", metavar="COLUMN", help="column to predict (default: the last one)")
    command.add_argument(
        "--task",
        choices=["auto", "regression", "classification"],
        default="auto",
        help="default: classification for text and at most 10 distinct whole numbers",
    )
    command.add_argument(
        "--models",
        nargs="+",
        metavar="MODEL",
        help=f"among {', '.join(METHODS)} (default: all; dummy, linear always run)",
    )
    command.add_argument("--cv", type=int, default=5, help="number of folds (default: 5)")
    command.add_argument(
        "--repeats", type=int, help="times the folds are drawn anew (default: 3 up to 1000 rows, else 1)"
    )
    command.add_argument("--n-jobs", type=int, default=-1, help="fits at a time (default: -1, one a core)")
    command.add_argument("--time-limit", type=float, metavar="SECONDS", help="longest time of one fit (default: none)")
    command.add_argument(
        "--margin", type=float, default=0.01, help="share of the dummy's loss that does not matter (default: 0.01)"
    )
    command.add_argument("--random-state", type=int, default=0, metavar="SEED", help="default: 0")
    command.add_argument("--json", type=Path, metavar="FILE", help="write verdict, evidence and results of every fold")
    return parser


def _compare(arguments, command):
    if arguments.json is not None:
        _check_writable(arguments.json)
        if arguments.json.exists() and Path(arguments.data).exists() and arguments.json.samefile(arguments.data):
            raise ValueError(f"--json {arguments.json}: expected another file than the table, which would be lost.")
    X, y, origin = _load(arguments.data, arguments.target)
    print(f"{origin}: {X.shape[0]} rows, {X.shape[1]} columns", file=sys.stderr)
    comparison = compare(
        X,
        y,
        task=arguments.task,
        models=arguments.models and [name for names in arguments.models for name in names.split(",") if name],
        cv=arguments.cv,
        repeats=arguments.repeats,
        n_jobs=arguments.n_jobs,
        time_limit=arguments.time_limit,
        margin=arguments.margin,
        random_state=arguments.random_state,
        verbose=1,
    )
    print(comparison)
    if arguments.json is not None:
        replace(comparison, settings={**comparison.settings, "data": origin, "command": command}).to_json(
            arguments.json
        )
    return SOME_FAILED if comparison.failed else DONE


def _load(data, target):
    """Return the columns, the target and a line that says what they are."""
    if Path(data).exists():
        table, notes = read_table(data)
        X, y = split_target(table, target)
        for note in notes:
            print(note, file=sys.stderr)
        return (
            X,
            y,
            f"{data}, predicting {str(y.name)!r}{'' if target else ' (the last column; --target takes another)'}",
        )
    if data not in EMBEDDED:
        raise ValueError(f"{data}: no such file, and not one of the embedded sets {', '.join(EMBEDDED)}.")
    if target is not None:
        raise ValueError(f"--target names a column of a file; the embedded set {data!r} has its own target.")
    return *EMBEDDED[data](), data


def _check_writable(path):
    folder = path.parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ValueError(f"--json {path}: expected a file in a folder that exists and can be written to.")


if __name__ == "__main__":
    sys.exit(main())
