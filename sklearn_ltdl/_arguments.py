"""The options of the command ``ltdl``; nothing that is slow to import is needed to say ``--help``."""

import argparse
import sys
from pathlib import Path

import sklearn_ltdl
from sklearn_ltdl.running._terminal import show
from sklearn_ltdl.study._options import MODELS, OPTIONS, Choice, Number
from sklearn_ltdl.tables._sets import DEMONSTRATION, EMBEDDED

BAD_USAGE = 2  # exit status
_TARGET = "column to predict: its name, or else its position, 1 being the first and -1 the last (default: the last)"
_NUMERIC = "treat these columns as numeric; non-numeric values become missing"
_TRUST = (
    "A model that ltdl compare --save wrote holds data only. Files of pickle and joblib run code when they are loaded, "
    "and so may classes of others: both are rejected unless --trust names them. Name only what you trust."
)


class Parser(argparse.ArgumentParser):
    """A parser that reports an error in one line, without the usage of some thirty options."""

    def refuse(self, words):
        """End with what of the words is not an option, and the options that may have been meant."""
        from difflib import get_close_matches

        hints = []
        for word in words:
            typed = word.partition("=")[0].replace("_", "-").lower()
            if typed.startswith("--"):
                hints += get_close_matches(typed, self._option_string_actions, 1, 0.7)
        if "--target" in self._option_string_actions and len(words) == 1 and not words[0].startswith("-"):
            hints = [f"--target {words[0]}"]
        meant = f"; did you mean {' and '.join(dict.fromkeys(hints))}?" if hints else ""
        self.error(f"unrecognized arguments: {' '.join(words)}{meant}")

    def error(self, message):
        self.exit(BAD_USAGE, f"{self.prog}: {message} ({self.prog} --help lists the options)\n")

    def _print_message(self, message, file=None):
        if message:
            show(message, file or sys.stderr, end="")


def attached(argv):
    """Return the arguments with each value of --missing and --sep attached: it may begin with a hyphen."""
    words, attached = list(map(str, argv)), []
    while words:
        word = words.pop(0)
        attached.append(f"{word}={words.pop(0)}" if word in ("--missing", "--sep") and words else word)
    return attached


def parser_of(runs):
    """Return the parser, and those of the commands by name; `runs` has the function that runs each command."""
    parser = Parser(
        prog="ltdl",
        description="Do you need a neural network for this table, or is something simpler enough?",
        epilog="Exit status: 0 done, 1 some models or tables failed, 2 bad usage or data, 130 interrupted.",
    )
    parser.add_argument("--version", action="version", version=f"ltdl {sklearn_ltdl.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", dest="command")
    _add_compare(commands)
    _add_suite(commands)
    _add_predict(commands)
    _add_regime(commands)
    for name, command in commands.choices.items():
        command.set_defaults(run=runs[name])
        command.add_argument("-q", "--quiet", action="store_true", help="print the result and errors only")
    return parser, commands.choices


def _add_compare(commands):
    command = commands.add_parser(
        "compare",
        help="does this table need feature learning?",
        description="Compare linear models, kernels, lazy and rich networks and trees on the same folds of a table, "
        "say which kind of model it needs and which one to use.",
        epilog="Example: ltdl compare houses.csv --target price --categorical zip --drop agent",
    )
    command.add_argument(
        "data",
        nargs="?",
        default=DEMONSTRATION,
        metavar="DATA",
        help="CSV, TSV or Parquet file with a header, compressed or not, a folder or quoted pattern of Parquet files, "
        f"'-' for the standard input, or one of {', '.join(EMBEDDED)} (default: {DEMONSTRATION})",
    )
    _add_columns(command)
    _add_form(command)
    _add_options(command)
    command.add_argument("-o", "--html", type=Path, metavar="FILE", help="write a self-contained HTML report")
    command.add_argument(
        "--json", type=Path, metavar="FILE", help="write the verdict, the evidence and the results of every fold"
    )
    command.add_argument(
        "--confirm",
        action="store_true",
        help="after a sample, fit the recommended model and its strongest rival on all rows that fit in memory, and "
        "compare them on rows held out; --save then fits these rows as well",
    )
    command.add_argument(
        "--save",
        type=Path,
        metavar="FILE",
        help="write the model with the least loss, fitted on all rows within --time-limit, for ltdl predict (such as "
        "model.skops; the file holds data and runs no code)",
    )


def _add_suite(commands):
    command = commands.add_parser(
        "suite",
        help="compare models on every table in a folder",
        description="Compare models on every CSV, TSV and Parquet file in a folder. Prints one line for each table, "
        "then the mean ranks of the models.",
    )
    command.add_argument("folder", type=Path, metavar="DIR", help="folder of tables; subfolders are not entered")
    command.add_argument("-t", "--target", metavar="COLUMN", help=_TARGET)
    _add_form(command)
    _add_options(command)
    command.add_argument(
        "-o", "--html", type=Path, metavar="FILE", help="write a page of all tables, and beside it one of each table"
    )
    command.add_argument("--json", type=Path, metavar="FILE", help="write all comparisons and the mean ranks")
    command.add_argument("--figure", type=Path, metavar="FILE", help="draw the mean ranks (.png, .svg or .pdf)")


def _add_predict(commands):
    command = commands.add_parser(
        "predict",
        help="apply a saved model to new rows",
        description="Predict each row of a table with a model that ltdl compare --save wrote, or with another fitted "
        "scikit-learn model. Columns are found by name, in any order; other columns are ignored.",
        epilog=_TRUST,
    )
    _add_model_and_data(command)
    command.add_argument("-o", "--output", type=Path, metavar="FILE", help="CSV or .parquet file (default: print CSV)")
    command.add_argument("--numeric", metavar="NAMES", action="append", default=[], help=_NUMERIC)
    command.add_argument("--proba", action="store_true", help="add the probability of each class")


def _add_regime(commands):
    command = commands.add_parser(
        "regime",
        help="did a trained network learn features, or was it lazy?",
        description="Report whether a fitted network, or a pipeline that ends with one (MLPClassifier, MLPRegressor, "
        "or a network of sklearn_ltdl), learned features or stayed lazy, judged on rows it was not trained on.",
        epilog=_TRUST,
    )
    _add_model_and_data(command)
    command.add_argument("-t", "--target", metavar="COLUMN", help=_TARGET)


def _add_model_and_data(command):
    command.add_argument("model", metavar="MODEL", help="file with a fitted model, of ltdl compare --save or skops")
    command.add_argument(
        "--trust",
        metavar="WHAT",
        action="append",
        default=[],
        help="MODULE:CLASS of your own in the model, or pickle: the model is a file of pickle or joblib; may be "
        "repeated",
    )
    command.add_argument(
        "data",
        metavar="DATA",
        help="CSV, TSV or Parquet file with a header, a folder or quoted pattern of Parquet files, or '-' for the "
        "standard input",
    )
    _add_form(command)


def _add_columns(command):
    group = command.add_argument_group(
        "columns", "How each column is read is printed first. NAMES are separated by commas; options may be repeated."
    )
    group.add_argument("-t", "--target", metavar="COLUMN", help=_TARGET)
    options = {
        "categorical": "treat these columns as categorical, even if they hold numbers",
        "numeric": _NUMERIC,
        "drop": "do not use these columns",
    }
    for name, text in options.items():
        group.add_argument(f"--{name}", metavar="NAMES", action="append", default=[], help=text)
    group.add_argument(
        "--groups",
        metavar="NAME",
        help="column of group labels, such as a patient id: a group is never split across folds, and the column is not "
        "used as a feature",
    )
    group.add_argument("--weights", metavar="NAME", help="column of row weights; not used as a feature")
    group.add_argument(
        "--time",
        metavar="NAME",
        help="column of numbers or dates: each of --cv parts is predicted from earlier rows; not used as a feature",
    )


def _add_form(command):
    """Add the options that say how a file is written, where that is not recognised."""
    group = command.add_argument_group("file", "How a text file is written, where that is not recognised.")
    group.add_argument("--sep", metavar="SIGN", help="what is between columns, such as ';', tab or blanks")
    count = _reader(Number(int, 0, None, "left", "a whole number of at least 0"))
    group.add_argument("--skip-rows", type=count, default=0, metavar="N", help="lines at the top to leave out")
    group.add_argument("--no-header", action="store_true", help="the first line is a row; columns are called 1, 2, ...")
    group.add_argument(
        "--missing",
        metavar="TEXTS",
        action="append",
        default=[],
        help="texts that mean a missing value, separated by commas, such as -999,nil; may be repeated",
    )
    group.add_argument("--encoding", metavar="NAME", help="such as cp1251 or big5 (default: UTF-8, else Windows-1252)")


def _add_options(command):
    groups = {title: command.add_argument_group(title) for title in dict.fromkeys(option.group for option in OPTIONS)}
    for option in OPTIONS:
        how = {"help": option.help, "default": option.initial}
        if option.takes is None:
            how["action"] = "store_true"
        elif isinstance(option.takes, Choice):
            how["choices"] = option.takes.words
        elif isinstance(option.takes, Number):
            how |= {"type": _reader(option.takes), "metavar": option.metavar}
        else:
            several = {"nargs": {"nargs": "+"}, "append": {"action": "append"}, "": {}}
            how |= {"metavar": option.metavar, **several[option.takes.several]}
        if option.initial is not None and option.takes is not None:
            how["help"] += f" (default: {option.initial})"
        argument = groups[option.group].add_argument(*option.flags, **how)
        if option.name == "models":
            argument.completer = lambda **_: MODELS  # of argcomplete


def _reader(number):
    """Return a function that reads a number for argparse."""

    def read(text):
        try:
            return number.read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read
