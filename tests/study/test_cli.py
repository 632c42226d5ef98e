import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import sklearn_ltdl
from sklearn_ltdl.study.cli import main


@pytest.fixture
def table(tmp_path, rng):
    frame = pd.DataFrame(
        {"id": [f"row {i}" for i in range(80)], "surface": rng.uniform(20, 200, 80), "town": ["A", "B", None, "A"] * 20}
    )
    frame["price"] = 3 * frame["surface"] + 50 * (frame["town"] == "A") + rng.standard_normal(80)
    frame.loc[5, "surface"] = np.nan
    frame.to_csv(tmp_path / "houses.csv", index=False)
    return tmp_path / "houses.csv"


def test_the_installed_command_prints_a_table_and_a_verdict_and_writes_json(table, tmp_path):
    ltdl = shutil.which("ltdl", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    out = tmp_path / "out.json"
    run = subprocess.run(
        [
            ltdl,
            "compare",
            table,
            "--models",
            "dummy",
            "linear",
            "ntk",
            "--cv",
            "3",
            "--repeats",
            "1",
            "--n-jobs",
            "2",
            "--json",
            out,
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "predicting 'price' (the last column; --target takes another): 80 rows, 3 columns" in run.stderr
    assert "[9/9]" in run.stderr
    written = json.loads(out.read_text())
    assert f"Verdict ({written['verdict']['code']})" in run.stdout
    assert {row["method"] for row in written["results"]} == {"dummy", "linear", "ntk"}
    assert len(written["results"]) == 9
    assert written["settings"]["command"].startswith("ltdl compare")
    linear = next(row for row in written["methods"] if row["method"] == "linear")
    assert linear["score"] > 0.9


def test_a_failure_gives_exit_code_1(tmp_path, capsys):
    table = np.random.default_rng(0).standard_normal((20_000, 20))  # on which a forest takes a minute
    np.savetxt(tmp_path / "table.csv", table, delimiter=",", header=",".join("abcdefghijklmnopqrst"), comments="")
    options = ["--target", "a", "--models", "forest", "--cv", "2", "--repeats", "1", "--n-jobs", "2", "--time-limit"]
    assert main(["compare", str(tmp_path / "table.csv"), *options, "5"]) == 1
    assert "forest    failed: in 2 of 2 folds, stopped at the time limit" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.csv"], "nowhere.csv: no such file, and not one of the embedded sets diabetes"),
        (["{table}", "--target", "prize"], "has no column 'prize' to predict; did you mean 'price'?"),
        (["{table}", "--target", "id"], "got 80 distinct values such as 'row 0'"),
        (["{table}", "--models", "linaer"], "expected names among"),
        (["{table}", "--json", "{table}/deeper/out.json"], "a folder that exists"),
        (["{table}", "--cv", "50"], "need at least 100 rows"),
        (["iris", "--target", "petal"], "has its own target"),
        (["{folder}"], "got a folder"),
    ],
)
def test_bad_usage_is_one_sentence_and_exit_code_2(arguments, message, table, capsys):
    filled = [argument.format(table=table, folder=table.parent) for argument in arguments]
    assert main(["compare", *filled]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_version_and_help(capsys):
    for option, expected in (("--version", sklearn_ltdl.__version__), ("--help", "compare")):
        with pytest.raises(SystemExit) as stop:
            main([option])
        assert stop.value.code == 0
        assert expected in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        main(["compare", "--cv", "many"])
    assert stop.value.code == 2


@pytest.mark.skipif(not hasattr(signal, "SIGINT") or sys.platform == "win32", reason="sends a POSIX signal")
def test_an_interruption_ends_at_once_with_exit_code_130(table):
    heard = "signal.signal(signal.SIGINT, signal.default_int_handler)"  # a process in the background ignores it
    code = f"import signal, sys; {heard}; from sklearn_ltdl.study.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "compare", table, "--n-jobs", "2", "--repeats", "50"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    while "[" not in process.stderr.readline():
        pass
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert time.monotonic() - start < 30
    assert process.returncode == 130, errors
    assert errors.endswith("ltdl compare: interrupted\n")
    assert "Traceback" not in errors


def test_the_table_is_not_overwritten_by_the_results(table, capsys):
    before = Path(table).read_bytes()
    assert main(["compare", str(table), "--json", str(table)]) == 2
    assert "would be lost" in capsys.readouterr().err
    assert Path(table).read_bytes() == before


def test_models_are_separated_by_commas_too_and_a_file_after_them_is_noticed(table, capsys):
    assert main(["compare", "diabetes", "--models", "linear,guess", str(table)]) == 2
    errors = capsys.readouterr().err
    assert "'guess'" in errors
    assert "A file goes before --models" in errors
