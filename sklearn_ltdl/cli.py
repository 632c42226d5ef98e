# PYTHON_ARGCOMPLETE_OK
"""The command ``ltdl``: what is slow to import is imported by the command that needs it."""

import os
import shlex
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import starmap
from pathlib import Path

from sklearn_ltdl._arguments import BAD_USAGE, attached, parser_of
from sklearn_ltdl._errors import ParameterError
from sklearn_ltdl._pieces import are_several, parquet_files
from sklearn_ltdl.running._interruption import heeded_interruptions
from sklearn_ltdl.running._terminal import say, show
from sklearn_ltdl.study._options import OPTIONS
from sklearn_ltdl.tables._sets import EMBEDDED, load_embedded

DONE, SOME_FAILED, INTERRUPTED = 0, 1, 130  # exit statuses; BAD_USAGE is another
CONFIRM_SHARE, SAVE_SHARE = 0.3, 0.2  # of the total time, which are kept to confirm, and to fit the model that is saved


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    name, told = "ltdl", set()

    def tell(message, *_, **__):
        """Show a warning as a sentence, once."""
        sentence = " ".join(str(message).split())
        if sentence not in told:
            told.add(sentence)
            say(f"{name}: {sentence}")

    try:
        with warnings.catch_warnings(), heeded_interruptions():
            warnings.showwarning = tell
            warnings.filterwarnings("always", "journal ")  # fits that run again are no error
            parser, commands = parser_of(_RUNS)
            if "_ARGCOMPLETE" in os.environ:  # a shell asks for what may be typed next, through argcomplete
                import argcomplete

                argcomplete.autocomplete(parser)
            arguments, unknown = parser.parse_known_args(attached(sys.argv[1:] if argv is None else argv))
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
    except BrokenPipeError:  # the reader closed the pipe
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


def _spoken(parameter):
    """Return what the command line calls a parameter."""
    return {"X": "table", "y": "target", "sample_weight": "--weights"}.get(
        parameter, f"--{parameter.replace('_', '-')}"
    )


def _form(arguments):
    """Return the arguments of `read_table` that these options stand for."""
    return {
        "sep": arguments.sep,
        "skip_rows": arguments.skip_rows,
        "header": not arguments.no_header,
        "missing": tuple(_names(arguments.missing)),
        "encoding": arguments.encoding,
    }


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
    _check_outputs(arguments, ("html", "json", "save", "journal"), _inputs(arguments.data))
    if arguments.html is not None:
        import jinja2  # noqa: F401  reported before the work if it is missing
        import matplotlib  # noqa: F401
    if arguments.confirm and arguments.data == "-":
        raise ValueError("--confirm reads the table twice, which the standard input cannot be; name a file.")
    to_save = 0.0 if arguments.save is None else SAVE_SHARE
    clock = _clock(arguments, reserved=to_save + (CONFIRM_SHARE if arguments.confirm else 0.0))
    with clock.preparation():
        X, y, columns, origin, spelled = _load(arguments, _rows_to_draw(arguments))
        drawn = columns.get("sample")
        of = "" if drawn is None or drawn.is_whole else f" of {drawn.n_rows}"
        last = " (the last column; --target takes another)" if arguments.target is None and drawn is not None else ""
        _remark(arguments, f"{origin}{last}: {X.shape[0]}{of} rows, {X.shape[1]} column{'s' * (X.shape[1] != 1)}")
        from sklearn_ltdl.study._study import Interrupted, compare

        protocol = _protocol(arguments) | {"total_time": clock}
        if arguments.time is not None:
            from sklearn_ltdl.study._folds import splits_by_time

            if arguments.repeats > 1:
                raise ValueError(f"--repeats {arguments.repeats}: the parts of --time are not drawn, and not repeated.")
            X, protocol["cv"] = splits_by_time(X, arguments.time, arguments.cv)
        try:
            comparison = compare(X, y, **protocol | columns, verbose=0 if arguments.quiet else 1)
        except Interrupted as stop:
            if stop.comparison is not None:
                _report(stop.comparison, origin, arguments)
            raise
    if arguments.confirm and comparison.settings["n_rows_of_table"] is None:
        _remark(arguments, "--confirm: all rows are compared, so there is nothing to confirm.")
    elif arguments.confirm:
        protocol["total_time"] = rest = clock.reserving(to_save)
        try:
            with rest.preparation():
                comparison, X, y, columns, spelled = _confirmed(comparison, X, arguments, protocol)
        except KeyboardInterrupt:
            _report(comparison, origin, arguments)
            raise
        except (ValueError, TypeError, KeyError, OSError, RuntimeError, MemoryError) as error:
            say(f"--confirm: not confirmed: {' '.join(str(error).split()) or type(error).__name__}")
    _report(comparison, origin, arguments)
    if arguments.save is not None:
        fit = {"sample_weight": columns.get("sample_weight"), "also": protocol["also"]}
        if not _save_winner(comparison, X, y, fit, spelled, clock, arguments):
            return SOME_FAILED
    return SOME_FAILED if comparison.failed else DONE


def _confirmed(comparison, X, arguments, protocol):
    """Return the comparison, confirmed on the rows that fit in memory, and what `_load` returns of them."""
    from sklearn_ltdl.study._confirm import confirm
    from sklearn_ltdl.study._folds import splits_by_time
    from sklearn_ltdl.study._winner import rows_that_fit

    X, y, columns, _, spelled = _load(arguments, rows_that_fit(comparison, X, arguments.n_jobs), is_told=False)
    split = None
    if arguments.time is not None:
        X, splits = splits_by_time(X, arguments.time, arguments.cv)
        split = splits[-1]
    _remark(arguments, f"Fitting the recommended model and its strongest rival on up to {len(X)} rows.")
    chosen = {name: columns[name] for name in ("sample", "sample_weight", "groups") if name in columns}
    chosen |= {name: protocol[name] for name in ("also", "n_jobs", "time_limit", "total_time")}
    return confirm(comparison, X, y, split=split, **chosen), X, y, columns, spelled


def _clock(arguments, reserved=0.0):
    """Return the total time, which counts from now; a part may be kept for a fit after the comparison."""
    from sklearn_ltdl.running._clock import TotalTime

    seconds = float("inf") if arguments.total_time is None else arguments.total_time
    return TotalTime(seconds, interrupts=True, reserved=reserved)


def _report(comparison, origin, arguments):
    _print(comparison)
    told = {"data": origin, "command": arguments.line, "saved": arguments.save and str(arguments.save)}
    comparison = replace(comparison, settings={**comparison.settings, **told})
    if arguments.json is not None:
        comparison.to_json(arguments.json)
    if arguments.html is not None:
        comparison.to_html(arguments.html)
        _remark(arguments, f"{arguments.html}: the report.")


def _save_winner(comparison, X, y, fit, spelled, clock, arguments):
    """Fit the best model on all rows, within the limits of time, and return whether it is saved."""
    from sklearn_ltdl.running._pool import JobError
    from sklearn_ltdl.study._saved import save
    from sklearn_ltdl.study._winner import winner_in_time

    name, n_rows = comparison.best, comparison.settings["n_rows_of_table"] or comparison.settings["n_rows"]
    is_whole = comparison.settings["n_rows_of_table"] in (None, len(X))
    rows = f"all {n_rows} rows" if is_whole else f"the {len(X)} rows drawn"
    limits = {"time_limit": arguments.time_limit, "total_time": clock.reserving(0.0)}
    model = winner_in_time(comparison, X, y, decimal=spelled[0], strays=spelled[1], **limits, **fit)
    if isinstance(model, JobError):
        say(f"{arguments.save}: not written, the fit of {name} on {rows} failed: {model}.")
        return False
    applied = " ".join(["ltdl predict", *(f"--trust {needed}" for needed in save(model, arguments.save))])
    _print(f"{arguments.save}: {name}, the model of least loss, fitted on {rows} ({applied} applies it).")
    return True


def _suite(arguments):
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
        import jinja2  # noqa: F401  reported before the work if it is missing
        import matplotlib
    if arguments.figure is not None:
        if arguments.figure.suffix not in (".png", ".svg", ".pdf"):
            raise ValueError(f"--figure {arguments.figure}: expected a name that ends with .png, .svg or .pdf.")
        import matplotlib  # noqa: F401
    from sklearn_ltdl.study._suite import Suite
    from sklearn_ltdl.tables._target import split_target

    predicted = f"column {arguments.target!r}" if arguments.target else "the last column (--target takes another)"
    _remark(arguments, f"{len(tables)} tables in {arguments.folder}, predicting {predicted} of each.")
    suite, status = Suite(), DONE
    protocol = _protocol(arguments) | {"total_time": _clock(arguments)}

    def load(path):
        table = read_table(path, target=arguments.target, sample=_rows_to_draw(arguments), **_form(arguments))
        _remark(arguments, *(f"{path.name}: {note}" for note in table.notes))
        return *split_target(table.frame, arguments.target), table.sample

    show(suite.header)
    try:
        for path in tables:
            row = suite.run(path.name, partial(load, path), **protocol)
            show(" ".join(suite.line(row).splitlines()))
            _write_suite(suite, arguments, tables)  # now, in case a later table stops the run
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
    from sklearn_ltdl.running._written import write_parts, write_whole
    from sklearn_ltdl.study import _winner
    from sklearn_ltdl.study._saved import load
    from sklearn_ltdl.tables._columns import hint
    from sklearn_ltdl.tables._files import require_plain
    from sklearn_ltdl.tables._kinds import coerced
    from sklearn_ltdl.tables._parquet import is_long_parquet, parquet_batches

    _check_outputs(arguments, ("output",), {**_inputs(arguments.data), "the model": arguments.model})
    model, notes = load(arguments.model, arguments.trust)
    trained = _winner.as_trained(model)
    _remark(arguments, *notes)

    def predicted(table, notes):
        X, unused = _winner.matched(arguments.data, model, table)
        for name in _names(arguments.numeric):
            if name not in getattr(X, "columns", []):
                raise ValueError(f"--numeric {name}: the model takes no such column; {hint(name, list(table.columns))}")
            X = X.assign(**{name: coerced(name, X[name])[0]})
        for note in [*notes, *unused]:
            if note not in told:
                told.append(note)
                _remark(arguments, note)
        return _winner.predictions(model, X, proba=arguments.proba)

    told, form = [], _form(arguments)
    if are_several(arguments.data) or is_long_parquet(arguments.data):
        require_plain(arguments.data, **form)
        sources = {str(file): file for file in parquet_files(arguments.data)}
        parts = starmap(predicted, parquet_batches(arguments.data, sources, 1, form["missing"]))
    else:
        table, more = _read_whole(arguments, "split the file, and predict its parts", least_columns=1, **trained)
        parts = iter([predicted(table, more)])
    if arguments.output is None:
        for k, part in enumerate(parts):
            if not _print(part.to_csv(index=False, header=k == 0, lineterminator="\n"), end=""):
                break
    else:
        write_whole(arguments.output, partial(write_parts, parts, arguments.output.suffix == ".parquet"))
    return DONE


def _regime(arguments):
    from sklearn_ltdl.study import _winner
    from sklearn_ltdl.study._saved import load
    from sklearn_ltdl.tables._target import split_target

    model, notes = load(arguments.model, arguments.trust)
    trained = _winner.as_trained(model)
    table, more = _read_whole(arguments, "use some of its rows", target=arguments.target, **trained)
    others, y = split_target(table, arguments.target)
    X, unused = _winner.matched(arguments.data, model, others)
    _remark(arguments, *notes, *more, *unused)
    from sklearn_ltdl.diagnostics import regime_report

    _print(regime_report(model, X[y.notna().to_numpy()], y.dropna().to_numpy()))
    return DONE


def _read_whole(arguments, remedy, **options):
    """Return the table for a model, and notes; the remedy is for a table that memory has no room for."""
    from sklearn_ltdl.tables._bytes import TooLarge
    from sklearn_ltdl.tables._files import read_table

    try:
        table = read_table(arguments.data, sample="all", **options, **_form(arguments))
    except TooLarge as error:
        raise TooLarge(error.reason, remedy) from error
    return table.frame, table.notes


def _remark(arguments, *lines):
    """Say what is neither the result nor an error, unless --quiet is given."""
    if not arguments.quiet:
        say(*lines)


def _print(text, end="\n"):
    """Print a result, and return whether there is a reader. If not, the files are still written."""
    try:
        show(text, end=end)
    except BrokenPipeError:
        _close_output()
        return False
    return True


def _close_output():
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _rows_to_draw(arguments):
    """Return how many rows of a longer file are read."""
    if arguments.stages is None:
        return arguments.sample
    from sklearn_ltdl.study._stages import rows_to_draw, sizes_of

    return rows_to_draw(sizes_of(arguments.stages))


def _load(arguments, size, is_told=True):
    """Return the columns, the target, arguments of `compare` on columns, a line on the origin, and the spelling."""
    data, target = arguments.data, arguments.target
    named = {option: _names(getattr(arguments, option)) for option in ("categorical", "numeric", "drop")}
    named |= {option: list(filter(None, [getattr(arguments, option)])) for option in ("groups", "weights")}
    if data in EMBEDDED and not Path(data).exists():
        if target is not None or any(named.values()):
            raise ValueError(f"--target and names of columns are for files; the embedded set {data!r} has its own.")
        return *load_embedded(data), {}, data, (None, {})
    if data != "-" and not Path(data).exists() and not are_several(data):
        raise ValueError(f"{data}: no such file, and not one of the embedded sets {', '.join(EMBEDDED)}.")
    from sklearn_ltdl.tables._columns import hint
    from sklearn_ltdl.tables._files import read_table
    from sklearn_ltdl.tables._target import split_target

    table = read_table(data, text=named["categorical"], target=target, sample=size, **_form(arguments))
    X, y = split_target(table.frame, target)
    if is_told:
        _remark(arguments, *table.notes)
    for option, names in named.items():
        for name in names:
            if name == y.name:
                raise ValueError(f"--{option} {name}: this is the column to predict (see --target).")
            if name not in X.columns:
                raise ValueError(f"--{option} {name}: there is no such column; {hint(name, list(X.columns))}")
    columns = {option: named[option] for option in ("categorical", "numeric")} | {"sample": table.sample}
    if arguments.groups is not None:
        columns["groups"] = X[arguments.groups].to_numpy()
    if arguments.weights is not None:
        columns["sample_weight"] = _weights(X[arguments.weights])
    X = X.drop(columns=named["drop"] + named["groups"] + named["weights"])
    if X.shape[1] == 0:
        raise ValueError("No column is left to predict from: all others are dropped, groups or weights.")
    origin = f"{'standard input' if data == '-' else data}, predicting {str(y.name)!r}"
    return X, y, columns, origin, (table.decimal, table.strays)


def _weights(column):
    from sklearn_ltdl.tables._kinds import reads_as_float

    if not reads_as_float(column.to_numpy(dtype=object)) or column.isna().any():
        raise ValueError(f"--weights {column.name}: expected a number in every row.")
    return column.to_numpy(dtype=float)


def _names(options):
    """Return the names in options such as ``a,b`` or ``'"a, b",c'``, each once."""
    import csv

    return list(dict.fromkeys(name for line in csv.reader(options, skipinitialspace=True) for name in line if name))


def _inputs(data):
    """Return the files of a table by what to call them."""
    if not are_several(data):
        return {"the table": data}
    return {f"the table's {file}": file for file in parquet_files(data)}


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
            if option == "journal" and path.exists():  # lines are appended to it
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


_RUNS = {"compare": _compare, "suite": _suite, "predict": _predict, "regime": _regime}

if __name__ == "__main__":
    sys.exit(main())
