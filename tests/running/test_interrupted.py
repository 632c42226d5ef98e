"""The command's options of running: progress, interruption, order in time, other estimators."""

import gc
import os
import pty
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from sklearn_ltdl.cli import main
from sklearn_ltdl.running._interruption import heeded_interruptions

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
HEARD = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "  # the background ignores it


@pytest.fixture
def table(tmp_path, rng):
    frame = pd.DataFrame(rng.standard_normal((120, 3)), columns=list("abc"))
    frame["day"] = pd.date_range("2024-01-01", periods=120)[rng.permutation(120)]
    frame["y"] = frame["a"] + 0.1 * rng.standard_normal(120)
    frame.to_csv(tmp_path / "table.csv", index=False)
    return tmp_path / "table.csv"


@POSIX
def test_an_interruption_says_what_is_kept_and_the_same_command_goes_on(table, tmp_path):
    journal = tmp_path / "run.jsonl"
    options = [table, "--models", "linear", "--n-jobs", "1", "--repeats", "400", "--journal", journal]
    command = [sys.executable, "-c", f"{HEARD}from sklearn_ltdl.cli import main; sys.exit(main())", "compare"]
    process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    while not journal.exists() or journal.read_text().count("\n") < 20:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "fits are done and kept in" in errors
    assert "ltdl compare: interrupted; " in errors
    assert "Traceback" not in errors
    assert "Verdict: linear" in out or "Verdict: unclear" in out  # of the draws of the folds that were whole
    done = journal.read_text().count("\n") - 1
    process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    line = ""
    while "fits are in" not in line:
        line = process.stderr.readline()
        assert line
    process.kill()
    process.communicate(timeout=60)
    assert abs(int(line.split()[0]) - done) <= 1  # a line may have been under way


@POSIX
@pytest.mark.parametrize("delay", [0.0, 0.3, 0.6, 1.0])
def test_an_interruption_in_the_first_second_leaves_no_traceback(delay):
    within = "parser = cli.parser_of; cli.parser_of = lambda runs: (print(flush=True), parser(runs))[1]; "
    code = f"{HEARD}from sklearn_ltdl import cli; {within}sys.exit(cli.main(['compare']))"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.readline()  # the command is about to import what it needs
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert ": interrupted" in errors.splitlines()[-1]


@POSIX
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGALRM])
def test_an_interruption_in_a_callback_of_the_collector_is_not_lost(number):
    """Python drops what such a callback raises, and JAX has one."""
    from sklearn_ltdl.running._clock import TimeIsOverError, TotalTime

    came = []

    def interrupted(*_):
        if not came:
            came.append(True)
            signal.raise_signal(number)

    def work():
        gc.callbacks.append(interrupted)
        with TotalTime(60, interrupts=True).preparation():
            gc.collect()
            time.sleep(10)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # the background ignores it
    try:
        with heeded_interruptions(), pytest.raises((KeyboardInterrupt, TimeIsOverError)) as stop:
            work()
    finally:
        gc.callbacks.remove(interrupted)
        signal.signal(signal.SIGINT, before)
    assert came
    assert isinstance(stop.value, TimeIsOverError) == (number == signal.SIGALRM)


def test_few_plain_lines_where_there_is_no_terminal(table, capsys):
    assert main(["compare", str(table), "--models", "linear", "--n-jobs", "1", "--repeats", "20"]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("[")]
    assert 2 <= len(lines) <= 12  # of 200 fits
    assert "left" in lines[0]
    assert lines[-1].startswith("[201/201] importance")


@POSIX
def test_one_line_is_rewritten_on_a_terminal(table):
    """Without rich; each text begins with a return to the first column and clears the line."""
    no_rich = "import sys; sys.modules['rich'] = None; import importlib.util as u; find = u.find_spec; "
    no_rich += "u.find_spec = lambda name, *rest: None if name == 'rich' else find(name, *rest); "
    code = f"{no_rich}from sklearn_ltdl.cli import main; sys.exit(main())"
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", code, "compare", table, "--models", "linear", "--n-jobs", "1", "--repeats", "2"]
    process = subprocess.Popen(command, stderr=theirs, stdout=subprocess.DEVNULL)
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # the terminal is closed
            break
        if not part:
            break
        shown += part
    assert process.wait(timeout=60) == 0
    os.close(ours)
    assert shown.count(b"\r\x1b[2K[") == 21  # the fits, and the importance of the columns
    assert shown.count(b"\n") < 12  # the notes before, and the end
    assert b"[21/21]" in shown


def test_rows_are_predicted_from_those_before_them(table, tmp_path, capsys):
    out = tmp_path / "out.json"
    options = ["--models", "linear", "--time", "day", "--cv", "4", "--json", str(out), "--n-jobs", "1"]
    assert main(["compare", str(table), *options]) == 0
    written = pd.read_json(out, typ="series")
    assert written["settings"]["cv"] == "4 splits"
    assert [row["n_train"] for row in written["results"] if row["method"] == "linear"] == [24, 48, 72, 96]
    assert [column["name"] for column in written["settings"]["columns"]] == ["a", "b", "c"]
    assert main(["compare", str(table), "--time", "dya"]) == 2
    assert "did you mean 'day'" in capsys.readouterr().err


def test_the_order_in_time_is_that_of_the_column(rng):
    from sklearn_ltdl.study._folds import splits_by_time

    day = rng.permutation(20)
    X, splits = splits_by_time(pd.DataFrame({"a": np.arange(20), "day": day}), "day", 4)
    assert list(X) == ["a"]
    assert all(day[train].max() < day[test].min() for train, test in splits)
