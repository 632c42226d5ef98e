"""The command ``ltdl``: what is slow to import is imported by the command that needs it."""

import argparse
import os
import shlex
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import sklearn_ltdl
from sklearn_ltdl._errors import ParameterError
from sklearn_ltdl.running._terminal import say, show
from sklearn_ltdl.study._options import OPTIONS, Choice, Number
from sklearn_ltdl.tables._sets import DEMONSTRATION, EMBEDDED, load_embedded

DONE, SOME_FAILED, BAD_USAGE, INTERRUPTED = 0, 1, 2, 130


def main(argv=None):
    """Run the command line and return its exit code."""
    name, told = "ltdl", set()

    def tell(message, *_, **__):
        """Show a warning as a sentence, once."""
        sentence = " ".join(str(message).split())
        if sentence not in told:
            told.add(sentence)
            say(f"{name}: {sentence}")

    try:
        with warnings.catch_warnings():
            warnings.showwarning = tell
            warnings.filterwarnings("always", "journal ")  # what runs again is no error
            parser, commands = _parser()
            arguments, unknown = parser.parse_known_args(_attached(sys.argv[1:] if argv is None else argv))
            if unknown:
                commands.get(arguments.command, parser).refuse(unknown)
            if arguments.command is None:
                parser.print_help(sys.stderr)
                return BAD_USAGE
            name = f"ltdl {arguments.command}"
            arguments.line = shlex.join(["ltdl", *(sys.argv[1:] if argv is None else map(str, argv))])
            status = arguments.run(arguments)
            sys.stdout.flush()
            return status
    except BrokenPipeError:  # who reads has enough
        _close_output()
        return DONE
    except ParameterError as error:
        say(f"{name}: {_spoken(error.parameter)}: {' '.join(error.message.split())}")
        return BAD_USAGE
    except (ValueError, TypeError, OSError, ImportError, RuntimeError, MemoryError, Warning) as error:
        say(f"{name}: {' '.join(str(error).split()) or type(error).__name__}")
        return BAD_USAGE
    except KeyboardInterrupt as stop:
        say(f"{name}: interrupted{f'; {stop}' if str(stop) else ''}")
        return INTERRUPTED


class _Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line, without the usage of some thirty options."""

    def refuse(self, words):
        """End with what of the words is not an option, and the options that may have been meant."""
        from difflib import get_close_matches

        hints = []
        for word in words:
            typed = word.partition("=")[0].replace("_", "-").lower()
            if typed.startswith("--"):
                hints += get_close_matches(typed, self._option_string_actions, 1, 0.7)
        meant = f"; did you mean {' and '.join(dict.fromkeys(hints))}?" if hints else ""
        self.error(f"unrecognized arguments: {' '.join(words)}{meant}")

    def error(self, message):
        self.exit(BAD_USAGE, f"{self.prog}: {message} ({self.prog} --help lists the options)\n")

    def _print_message(self, message, file=None):
        if message:
            show(message, file or sys.stderr, end="")


def _attached(argv):
    """Return the arguments with each value of --missing and --sep attached: it may begin with a hyphen."""
    words, attached = list(map(str, argv)), []
    while words:
        word = words.pop(0)
        attached.append(f"{word}={words.pop(0)}" if word in ("--missing", "--sep") and words else word)
    return attached


def _spoken(parameter):
    """Return what the command line calls a parameter."""
    return {"X": "table", "y": "target", "sample_weight": "--weights"}.get(
        parameter, f"--{parameter.replace('_', '-')}"
    )


def _parser():
    parser = _Parser(
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
    for command in commands.choices.values():
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
    command.set_defaults(run=_compare)
    command.add_argument(
        "data",
        nargs="?",
        default=DEMONSTRATION,
        metavar="DATA",
        help="CSV, TSV or Parquet file with a header, compressed or not, '-' for the standard input, or one of "
        f"{', '.join(EMBEDDED)} (default: {DEMONSTRATION})",
    )
    _add_columns(command)
    _add_form(command)
    _add_options(command)
    command.add_argument("-o", "--html", type=Path, metavar="FILE", help="write a self-contained HTML report")
    command.add_argument(
        "--json", type=Path, metavar="FILE", help="write the verdict, the evidence and the results of every fold"
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
    command.set_defaults(run=_suite)
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
    command.set_defaults(run=_predict)
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
    command.set_defaults(run=_regime)
    _add_model_and_data(command)
    command.add_argument("-t", "--target", metavar="COLUMN", help=_TARGET)


_TARGET = "column to predict: its name, or else its position, 1 being the first and -1 the last (default: the last)"
_NUMERIC = "treat these columns as numeric; non-numeric values become missing"
_TRUST = (
    "A model that ltdl compare --save wrote holds data only. Files of pickle and joblib run code when they are loaded, "
    "and so may classes of others: both are rejected unless --trust names them. Name only what you trust."
)


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
    command.add_argument("data", metavar="DATA", help="CSV, TSV or Parquet file with a header, '-' for standard input")
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


def _form(arguments):
    """Return the arguments of `read_table` that these options stand for."""
    return {
        "sep": arguments.sep,
        "skip_rows": arguments.skip_rows,
        "header": not arguments.no_header,
        "missing": tuple(_names(arguments.missing)),
        "encoding": arguments.encoding,
    }


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
        groups[option.group].add_argument(*option.flags, **how)


def _reader(number):
    """Return a function that reads a number for argparse."""

    def read(text):
        try:
            return number.read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def _protocol(arguments):
    """Return the arguments of `compare` that its options stand for."""
    protocol = {option.name: getattr(arguments, option.name) for option in OPTIONS}
    also = [_imported(path) for path in protocol["also"] or ()]
    twice = sorted({name for name, _ in also if sum(name == other for other, _ in also) > 1})
    if twice:
        text = f"expected classes of different names, got {twice[0]} twice; compare one at a time."
        raise ParameterError("also", text)
    models = protocol["models"]
    return protocol | {
        "models": models and [name for names in models for name in names.split(",") if name],
        "also": dict(also) or None,
        "backend": "dask" if arguments.scheduler else arguments.backend,
    }


def _imported(path):
    """Return the name of a class such as ``sklearn.svm:SVR``, and an object of it."""
    from importlib import import_module

    module, _, name = path.partition(":")
    try:
        return name, getattr(import_module(module), name)()
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"--also {path}: expected MODULE:CLASS of an estimator, such as sklearn.svm:SVR ({error})."
        ) from error


def _compare(arguments):
    _check_outputs(arguments, ("html", "json", "save", "journal"), {"the table": arguments.data})
    if arguments.html is not None:
        import jinja2  # noqa: F401  that it is missing is told now, not after the work
        import matplotlib  # noqa: F401
    X, y, columns, origin, spelled = _load(arguments)
    _remark(arguments, f"{origin}: {X.shape[0]} rows, {X.shape[1]} column{'s' * (X.shape[1] != 1)}")
    from sklearn_ltdl.study._study import Interrupted, compare

    protocol = _protocol(arguments)
    if arguments.time is not None:
        from sklearn_ltdl.study._folds import splits_by_time

        if arguments.repeats > 1:
            raise ValueError(f"--repeats {arguments.repeats}: the parts of --time are not drawn, and not repeated.")
        X, protocol["cv"] = splits_by_time(X, arguments.time, arguments.cv)
    try:
        comparison = compare(X, y, **columns, **protocol, verbose=0 if arguments.quiet else 1)
    except Interrupted as stop:
        if stop.comparison is not None:
            _report(stop.comparison, origin, arguments)
        raise
    _report(comparison, origin, arguments)
    if arguments.save is not None:
        fit = {"sample_weight": columns.get("sample_weight"), "also": protocol["also"]}
        if not _save_winner(comparison, X, y, fit, spelled, arguments):
            return SOME_FAILED
    return SOME_FAILED if comparison.failed else DONE


def _report(comparison, origin, arguments):
    _print(comparison)
    told = {"data": origin, "command": arguments.line, "saved": arguments.save and str(arguments.save)}
    comparison = replace(comparison, settings={**comparison.settings, **told})
    if arguments.json is not None:
        comparison.to_json(arguments.json)
    if arguments.html is not None:
        comparison.to_html(arguments.html)
        _remark(arguments, f"{arguments.html}: the report.")


def _save_winner(comparison, X, y, fit, spelled, arguments):
    """Fit the best model on all rows, within the limit of one fit, and return whether it is saved."""
    from sklearn_ltdl.running._pool import JobError
    from sklearn_ltdl.study._saved import save
    from sklearn_ltdl.study._winner import winner_in_time

    name, n_rows = comparison.best, comparison.settings["n_rows"]
    model = winner_in_time(
        comparison, X, y, decimal=spelled[0], strays=spelled[1], time_limit=arguments.time_limit, **fit
    )
    if isinstance(model, JobError):
        say(f"{arguments.save}: not written, the fit of {name} on all {n_rows} rows failed: {model}.")
        return False
    applied = " ".join(["ltdl predict", *(f"--trust {needed}" for needed in save(model, arguments.save))])
    _print(f"{arguments.save}: {name}, the model of least loss, fitted on all {n_rows} rows ({applied} applies it).")
    return True


def _suite(arguments):
    from functools import partial

    from sklearn_ltdl.tables._files import TABLES, read_table

    if not arguments.folder.is_dir():
        raise ValueError(f"{arguments.folder}: expected a folder of tables; a single one is for ltdl compare.")
    files = sorted(path for path in arguments.folder.iterdir() if path.is_file())
    tables = [path for path in files if TABLES.fullmatch(path.name)]
    if not tables:
        raise ValueError(f"{arguments.folder}: expected CSV, TSV or Parquet files, got none among {len(files)} files.")
    inputs = {f"the table {path.name}": path for path in tables}
    _check_outputs(arguments, ("html", "json", "figure", "journal"), inputs)
    if arguments.html is not None:
        import jinja2  # noqa: F401  that it is missing is told now, not after the work
        import matplotlib
    if arguments.figure is not None:
        if arguments.figure.suffix not in (".png", ".svg", ".pdf"):
            raise ValueError(f"--figure {arguments.figure}: expected a name that ends with .png, .svg or .pdf.")
        import matplotlib  # noqa: F401
    from sklearn_ltdl.study._suite import Suite
    from sklearn_ltdl.tables._target import split_target

    predicted = f"column {arguments.target!r}" if arguments.target else "the last column (--target takes another)"
    _remark(arguments, f"{len(tables)} tables in {arguments.folder}, predicting {predicted} of each.")
    suite, status, protocol = Suite(), DONE, _protocol(arguments)

    def load(path):
        table, notes, *_ = read_table(path, target=arguments.target, **_form(arguments))
        _remark(arguments, *(f"{path.name}: {note}" for note in notes))
        return split_target(table, arguments.target)

    show(suite.header)
    try:
        for path in tables:
            row = suite.run(path.name, partial(load, path), **protocol)
            show(" ".join(suite.line(row).splitlines()))
            _write_suite(suite, arguments, tables)  # now, lest a later table take it along
    except KeyboardInterrupt:
        say(f"Interrupted: {len(suite.rows)} of {len(tables)} tables are done.")
        status = INTERRUPTED
        _write_suite(suite, arguments, tables)
    show(f"\n{suite.summary()}")
    if arguments.figure is not None and suite.ranks() is not None:
        suite.draw(arguments.figure)
    return status or (SOME_FAILED if any(row["failure"] for row in suite.rows) else DONE)


def _write_suite(suite, arguments, tables):
    """Write what is known of the tables so far."""
    if arguments.json is not None:
        suite.to_json(arguments.json)
    if arguments.html is not None:
        commands = {path.name: _compare_line(arguments, path) for path in tables}
        suite.to_html(arguments.html, str(arguments.folder), commands)


def _compare_line(arguments, path):
    """Return the command that compares on one table of a suite."""
    words = ["ltdl", "compare", str(path)]
    if arguments.target is not None:
        words += ["--target", arguments.target]
    for option in OPTIONS:
        value, flag = getattr(arguments, option.name), option.flags[-1]
        if value == option.initial or option.name == "journal":
            continue
        if option.takes is None:
            words.append(flag)
        else:
            several = getattr(option.takes, "several", "")
            words += [f"{flag}={one}" for one in value] if several == "append" else [flag]
            words += [*value] if several == "nargs" else [] if several else [str(value)]
    return shlex.join(words)


def _predict(arguments):
    from sklearn_ltdl.running._written import write_whole
    from sklearn_ltdl.study import _winner
    from sklearn_ltdl.study._saved import load
    from sklearn_ltdl.tables._columns import hint
    from sklearn_ltdl.tables._files import read_table
    from sklearn_ltdl.tables._kinds import coerced

    _check_outputs(arguments, ("output",), {"the table": arguments.data, "the model": arguments.model})
    model, notes = load(arguments.model, arguments.trust)
    trained = _winner.as_trained(model)
    table, more, *_ = read_table(arguments.data, least_columns=1, **trained, **_form(arguments))
    X, unused = _winner.matched(arguments.data, model, table)
    for name in _names(arguments.numeric):
        if name not in getattr(X, "columns", []):
            raise ValueError(f"--numeric {name}: the model takes no such column; {hint(name, list(table.columns))}")
        X = X.assign(**{name: coerced(name, X[name])[0]})
    _remark(arguments, *notes, *more, *unused)
    predicted = _winner.predictions(model, X, proba=arguments.proba)
    if arguments.output is None:
        _print(predicted.to_csv(index=False, lineterminator="\n"), end="")
    else:
        write = predicted.to_parquet if arguments.output.suffix == ".parquet" else predicted.to_csv
        write_whole(arguments.output, write(index=False))
    return DONE


def _regime(arguments):
    from sklearn_ltdl.study import _winner
    from sklearn_ltdl.study._saved import load
    from sklearn_ltdl.tables._files import read_table
    from sklearn_ltdl.tables._target import split_target

    model, notes = load(arguments.model, arguments.trust)
    trained = _winner.as_trained(model)
    table, more, *_ = read_table(arguments.data, target=arguments.target, **trained, **_form(arguments))
    others, y = split_target(table, arguments.target)
    X, unused = _winner.matched(arguments.data, model, others)
    _remark(arguments, *notes, *more, *unused)
    from sklearn_ltdl.diagnostics import regime_report

    _print(regime_report(model, X[y.notna().to_numpy()], y.dropna().to_numpy()))
    return DONE


def _remark(arguments, *lines):
    """Say what is neither the result nor an error, unless --quiet is given."""
    if not arguments.quiet:
        say(*lines)


def _print(text, end="\n"):
    """Print a result; who reads may have enough of it, and still want the files that are to be written."""
    try:
        show(text, end=end)
    except BrokenPipeError:
        _close_output()


def _close_output():
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _load(arguments):
    """Return the columns, the target, arguments of `compare` on columns, a line on the origin, and the spelling."""
    data, target = arguments.data, arguments.target
    named = {option: _names(getattr(arguments, option)) for option in ("categorical", "numeric", "drop")}
    named |= {option: list(filter(None, [getattr(arguments, option)])) for option in ("groups", "weights")}
    if data in EMBEDDED and not Path(data).exists():
        if target is not None or any(named.values()):
            raise ValueError(f"--target and names of columns are for files; the embedded set {data!r} has its own.")
        return *load_embedded(data), {}, data, (None, {})
    if data != "-" and not Path(data).exists():
        raise ValueError(f"{data}: no such file, and not one of the embedded sets {', '.join(EMBEDDED)}.")
    from sklearn_ltdl.tables._columns import hint
    from sklearn_ltdl.tables._files import read_table
    from sklearn_ltdl.tables._target import split_target

    table, notes, *spelled = read_table(data, text=named["categorical"], target=target, **_form(arguments))
    X, y = split_target(table, target)
    _remark(arguments, *notes)
    for option, names in named.items():
        for name in names:
            if name == y.name:
                raise ValueError(f"--{option} {name}: this is the column to predict (see --target).")
            if name not in X.columns:
                raise ValueError(f"--{option} {name}: there is no such column; {hint(name, list(X.columns))}")
    columns = {option: named[option] for option in ("categorical", "numeric")}
    if arguments.groups is not None:
        columns["groups"] = X[arguments.groups].to_numpy()
    if arguments.weights is not None:
        columns["sample_weight"] = _weights(X[arguments.weights])
    X = X.drop(columns=named["drop"] + named["groups"] + named["weights"])
    if X.shape[1] == 0:
        raise ValueError("No column is left to predict from: all others are dropped, groups or weights.")
    origin = f"{'standard input' if data == '-' else data}, predicting {str(y.name)!r}"
    if target is None:
        origin += " (the last column; --target takes another)"
    return X, y, columns, origin, spelled


def _weights(column):
    from sklearn_ltdl.tables._kinds import reads_as_float

    if not reads_as_float(column.to_numpy(dtype=object)) or column.isna().any():
        raise ValueError(f"--weights {column.name}: expected a number in every row.")
    return column.to_numpy(dtype=float)


def _names(options):
    """Return the names in options such as ``a,b`` or ``'"a, b",c'``, each once."""
    import csv

    return list(dict.fromkeys(name for line in csv.reader(options, skipinitialspace=True) for name in line if name))


def _check_outputs(arguments, options, inputs):
    """Raise an error before the work is done, not after, if a file cannot be written, or would overwrite another."""
    from sklearn_ltdl.running._written import require_writable

    taken = {_identity(Path(path)): what for what, path in inputs.items()}
    for option in options:
        if getattr(arguments, option) is None:
            continue
        path = Path(getattr(arguments, option))
        try:
            if path.is_dir():
                raise ValueError(f"--{option} {path}: expected the name of a file, got a folder.")
            if option == "journal" and path.exists():  # to which lines are added
                with path.open("ab"):
                    pass
            else:
                require_writable(path)
        except OSError as error:
            raise ValueError(
                f"--{option} {path}: expected a file in a folder that exists and can be written to ({error.strerror})."
            ) from error
        other = taken.setdefault(_identity(path), f"the file of --{option}")
        if other != f"the file of --{option}":
            raise ValueError(f"--{option} {path}: expected another file than {other}, which would be lost.")


def _identity(path):
    """Return what two names of one file have in common."""
    return (path.stat().st_dev, path.stat().st_ino) if path.exists() else path.resolve()


if __name__ == "__main__":
    sys.exit(main())
