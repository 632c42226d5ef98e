import argparse
import inspect
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import LinearRegression, Ridge

import sklearn_ltdl
from sklearn_ltdl import compare, make_table_pipeline
from sklearn_ltdl.cli import _save_winner, main
from sklearn_ltdl.running._clock import TotalTime
from sklearn_ltdl.running._journal import Journal
from sklearn_ltdl.study import winner
from sklearn_ltdl.study._folds import splits_by_time
from sklearn_ltdl.study._models import METHODS
from sklearn_ltdl.study._options import MODELS, OPTIONS
from sklearn_ltdl.study._saved import load, save
from sklearn_ltdl.tables._files import read_table


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
    assert "[10/10] importance" in run.stderr
    written = json.loads(out.read_text())
    assert f"Verdict: {written['verdict']['code']}" in run.stdout
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
        (["iris", "--target", "petal"], "the embedded set 'iris' has its own"),
        (["{table}", "--drop", "towm"], "--drop towm: there is no such column; did you mean 'town'?"),
        (["{table}", "--categorical", "price"], "--categorical price: this is the column to predict"),
        (["{table}", "--drop", "id,surface", "--drop", "town"], "No column is left to predict from"),
        (["{table}", "--groups", "twon"], "--groups twon: there is no such column; did you mean 'town'?"),
        (["{table}", "--weights", "town"], "--weights town: expected a number in every row"),
        (["{table}", "--weights", "surface"], "--weights surface: expected a number in every row"),  # one is missing
        (["{table}", "--also", "sklearn.svm:SVRR"], "--also sklearn.svm:SVRR: expected MODULE:CLASS of an estimator"),
        (["{table}", "--also", "SVR"], "--also SVR: expected MODULE:CLASS of an estimator"),
        (
            ["{table}", "--scheduler", "tcp://127.0.0.1:1"],
            "did not answer within 10 s" if find_spec("distributed") else "needs Dask: pip install",
        ),
        (["{table}", "--journal", "{table}"], "which would be lost"),
        (["{table}", "--numeric", "town"], "'town' cannot be read as numbers; it holds values such as 'A'"),
        (["{folder}"], "there is no Parquet file"),
        (["{table}", "--time", "town"], "--time town: expected a time in each row, got 20 rows without"),
        (["{table}", "--time", "id"], "--time id: expected numbers, or dates such as 2024-05-31, got 'row 0'; write"),
        (["{table}", "--time", "id", "--repeats", "3"], "--repeats 3: the parts of --time are not drawn"),
        (["{table}", "--groups", "town"], "--groups: expected a group for each row, got 20 of 80 rows without"),
        (["{table}", "--also", "sklearn.svm:SVR", "--also", "sklearn.svm:SVR"], "different names, got SVR twice"),
        (["{table}", "--scoring", "neg_log_loss"], "--scoring: 'neg_log_loss' fails on a fold of these data: it is"),
        (
            ["{table}", "--scheduler", "foo"],
            "--scheduler: for 'foo', expected the address" if find_spec("distributed") else "needs Dask: pip install",
        ),
        (["{table}", "--backend", "dask"], "--scheduler: a Dask cluster needs backend 'dask' and the address"),
        (["{table}", "--task", "classification"], "correct its numbers, or use task='regression' (--task regression)"),
        (["{table}", "--html", "F", "--json", "./F"], "--json F: expected another file than the file of --html"),
        (["{table}", "--save", "{folder}/../{name}/F", "--json", "{folder}/F"], "than the file of --json, which would"),
    ],
)
def test_bad_usage_is_one_sentence_and_exit_code_2(arguments, message, table, capsys):
    names = {"table": table, "folder": table.parent, "name": table.parent.name}
    assert main(["compare", *(argument.format(**names) for argument in arguments)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.splitlines()[-1].startswith("ltdl compare: ")
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--cv", "1"], "--cv: expected a whole number of at least 2, got '1'"),
        (["--n-jobs", "0"], "--n-jobs: expected a whole number that is not 0, got '0'"),
        (["--repeats", "0"], "--repeats: expected a whole number of at least 1, got '0'"),
        (["--margin", "nan"], "--margin: expected a number above 0 and below 1, got 'nan'"),
        (["--time-limit", "0"], "--time-limit: expected a number above 0, got '0'"),
        (["--random-state", "-1"], "--random-state: expected a whole number of at least 0, got '-1'"),
        (["--bogus"], "unrecognized arguments: --bogus"),
    ],
)
def test_options_that_cannot_be_are_refused_before_anything_is_read(options, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["compare", "nowhere.csv", *options])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--cv", "50"], "--cv: 50 folds need at least 100 rows"),
        (["--task", "regression", "--target", "kind"], "target: expected numbers for task='regression', got"),
        (["--scoring", "roc"], "--scoring: 'roc' is not a score of scikit-learn"),
        (["--also", "sklearn.svm:SVM"], "--also sklearn.svm:SVM: expected MODULE:CLASS of an estimator"),
        (["--groups", "holes"], "--groups: expected a group for each row, got 20 of 40 rows without"),
        (["--weights", "zero"], "--weights: zero for every row"),
        (["--backend", "dask"], "--scheduler: a Dask cluster needs"),
    ],
)
def test_an_error_names_the_option(options, said, tmp_path, capsys):
    rows = "".join(f"{i % 7},{'uv'[i % 2]},{i if i % 2 else ''},0,{i}\n" for i in range(40))
    assert compare_file(tmp_path / "t.csv", f"x,kind,holes,zero,y\n{rows}", *options) == 2
    assert f"ltdl compare: {said}" in capsys.readouterr().err


def test_the_function_and_the_command_have_the_same_options():
    parameters = inspect.signature(compare).parameters
    assert {option.name: option.default for option in OPTIONS} == {
        option.name: parameters[option.name].default for option in OPTIONS
    }
    of_files = {"X", "y", "categorical", "numeric", "groups", "sample_weight", "verbose"}
    assert {option.name for option in OPTIONS} == {*parameters} - of_files
    for option in OPTIONS:
        told = "" if option.default is None else f", default={option.default!r}"
        assert re.search(rf"^    {option.name} : .*{re.escape(told)}$", compare.__doc__, re.MULTILINE)


def test_what_is_predicted_in_time_is_later_than_what_is_learned(tmp_path, rng):
    days = rng.permutation(np.repeat(np.arange(23), 4))  # of some days there are rows in two parts
    dates = (pd.Timestamp("2023-12-15") + pd.to_timedelta(days, unit="D")).strftime("%d.%m.%Y")  # in German
    pd.DataFrame({"day": dates, "x": rng.standard_normal(92), "y": days}).to_csv(tmp_path / "t.csv", index=False)
    X = read_table(tmp_path / "t.csv")[0]
    others, splits = splits_by_time(X, "day", 4)
    assert list(others) == ["x", "y"]
    assert len(splits) == 4
    for train, test in splits:
        assert days[train].max() < days[test].min()
    assert np.unique(np.concatenate([test for _, test in splits])).size == 72
    numbers = splits_by_time(X.assign(day=days), "day", 4)[1]
    assert all(np.array_equal(a, b) for pair, other in zip(splits, numbers) for a, b in zip(pair, other))
    with pytest.raises(ValueError, match="expected numbers, or dates such as 2024-05-31, got '05/31/2024'"):
        splits_by_time(X.assign(day="05/31/2024"), "day", 4)


@pytest.mark.parametrize(
    ("time_limit", "total_time", "reason"),
    [(3.0, None, "stopped at the time limit of 3 s"), (None, 4.0, "the total time of 4 s")],
)
def test_the_last_fit_keeps_to_the_limits_in_time(time_limit, total_time, reason, tmp_path, capsys, rng):
    X, y = rng.standard_normal((40, 2)), rng.standard_normal(40)
    comparison = compare(X, y, also={"slow": LinearRegression()}, models=["linear"], cv=2, repeats=1)
    slow = TransformedTargetRegressor(func=lambda y: [y, time.sleep(600)][0], inverse_func=lambda y: y)
    fit = {"sample_weight": None, "also": {"slow": slow}}
    methods = tuple(row | {"loss": 0.0} if row["method"] == "slow" else row for row in comparison.methods)
    comparison = replace(comparison, methods=methods)
    arguments = argparse.Namespace(save=tmp_path / "model.skops", time_limit=time_limit)
    assert not _save_winner(comparison, X, y, fit, (None, {}), TotalTime.of(total_time), arguments)
    assert not (tmp_path / "model.skops").exists()
    errors = capsys.readouterr().err
    assert "not written, the fit of slow on all 40 rows failed: " in errors
    assert reason in errors


def compare_file(path, content, *options):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return main(["compare", str(path), "--models", "linear", "--cv", "2", "--repeats", "1", "--n-jobs", "1", *options])


ROWS = "".join(f"{i % 7},{'uv'[i % 2]},{i}\n" for i in range(40))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "bad.csv: expected a header line and rows, got an empty file."),
        ("x,kind,y\n", "bad.csv: expected rows below the header, got none."),
        ("x,kind,y\n1,u,2\n", "target: expected rows to learn from, got one row with a target."),
        ("x,y\n" + "".join(f"{i % 7},one\n" for i in range(30)), "at least two distinct values, got only one"),
        ("x,y\n" + "".join(f"{i % 7},\n" for i in range(30)), "got no row with a target: its column is empty."),
        ("x,y\n" + "".join(f"{i % 7},3\n" for i in range(30)), "at least two distinct values, got only 3"),
        ("x,z,y\n" + "".join(f"1,a,{i}\n" for i in range(30)), "No column is left to predict from (x: the same"),
        ("x,y\n" + "".join(f"inf,{i}\n" if i == 3 else f"{i},{i}\n" for i in range(30)), "column 'x' holds infinite"),
        ("x,y\n" + "".join(f"{i % 7},{'-inf' if i == 3 else i}\n" for i in range(30)), "got infinite values; drop"),
        ("<html><body>Not found</body></html>", "got HTML or XML; save the table as CSV or Parquet."),
        ('[{"x": 1}]', "got JSON"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "got an image (PNG)"),
        (bytes(range(256)), "got binary data"),
        (",".join(f"x{j}" for j in range(30_000)) + ("\n" + ",".join("12" * 15_000)) * 9,
         "expected at most 20000 columns to predict from, got 30000; drop some"),
    ],
)  # fmt: skip
def test_bad_tables_are_one_sentence_and_exit_code_2(content, message, tmp_path, capsys):
    assert compare_file(tmp_path / "bad.csv", content) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("ltdl compare: ")
    assert message in error


def test_mixed_types_and_texts_of_missing_values_are_read_and_told(tmp_path, capsys):
    lines = [f"{i % 5},{'NaN' if i % 9 == 0 else i % 4},{i % 6 if i else 'many'},{i * 0.5}\n" for i in range(40)]
    assert compare_file(tmp_path / "t.csv", "a,holes,mixed,y\n" + "".join(lines)) == 0
    told = capsys.readouterr().err
    assert "3 numbers     a, holes, mixed (2 with missing values)" in told
    assert "Other texts are treated as missing in 'mixed' ('many' in 1 row); ltdl compare --categorical NAME" in told
    assert compare_file(tmp_path / "t.csv", "a,holes,mixed,y\n" + "".join(lines), "--categorical", "mixed") == 0
    assert "1 category    mixed" in capsys.readouterr().err
    many = "a,mixed,y\n" + "".join(f"{i % 5},{'many' if i % 3 else i},{i * 0.5}\n" for i in range(40))
    assert compare_file(tmp_path / "t.csv", many, "--numeric", "mixed") == 0
    assert "mixed: non-numeric values are treated as missing (26 of them, such as 'many')" in capsys.readouterr().err


def test_the_form_of_a_file_is_given_on_the_command_line(tmp_path, capsys):
    rows = "".join(f"{i % 7 if i % 9 else -999}*{'uv'[i % 2]}*{i}\n" for i in range(40))
    content = f"one line\nanother\n{rows}".encode("utf-16-le")
    form = ["--sep", "*", "--skip-rows", "2", "--no-header", "--missing", "-999,nil", "--encoding", "utf-16-le"]
    saved = tmp_path / "model.skops"
    assert compare_file(tmp_path / "t.csv", content, "--target", "3", "--save", str(saved), *form) == 0
    told = capsys.readouterr().err
    assert "predicting '3': 40 rows, 2 columns" in told
    assert "1 number      1 (1 with missing values)" in told
    assert main(["predict", str(saved), str(tmp_path / "t.csv"), *form]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 41


def test_texts_that_were_missing_in_training_are_missing_in_new_rows(tmp_path, capsys):
    rows = "".join(f"{i % 11 if i != 7 else 'rotary'},{i}\n" for i in range(40))
    saved = tmp_path / "model.skops"
    assert compare_file(tmp_path / "t.csv", f"x,y\n{rows}", "--save", str(saved)) == 0
    (tmp_path / "new.csv").write_text("x\nrotary\n3\n")
    assert main(["predict", str(saved), str(tmp_path / "new.csv")]) == 0
    assert len(capsys.readouterr().out.splitlines()[-3:]) == 3


def test_columns_are_read_as_asked_and_the_file_says_so(tmp_path, capsys):
    content = "x,kind,y\n" + ROWS
    options = ["--categorical", "x", "--drop", '"kind"', "--target", "3", "--json", str(tmp_path / "out.json")]
    assert compare_file(tmp_path / "t.csv", content, *options) == 0
    columns = json.loads((tmp_path / "out.json").read_text())["settings"]["columns"]
    assert [(column["name"], column["kind"]) for column in columns] == [("x", "category")]
    assert "predicting 'y': 40 rows, 1 column\n" in capsys.readouterr().err


def test_levels_are_what_is_written_in_the_file(tmp_path):
    rows = "".join(f"{code},{y + i % 2 / 10}\n" for i in range(30) for code, y in (("1", 0), ("01", 5), ("001", 2)))
    options = ["--categorical", "code", "--json", str(tmp_path / "out.json")]
    assert compare_file(tmp_path / "t.csv", f"code,y\n{rows}", *options) == 0
    linear = json.loads((tmp_path / "out.json").read_text())["methods"][1]
    assert linear["score"] > 0.9  # as numbers they would all be 1


def test_the_command_gives_the_numbers_of_python(tmp_path, rng):
    n = 60
    X = pd.DataFrame({"a": rng.standard_normal(n), "b": rng.standard_normal(n)})
    patient, weight = np.arange(n) // 3, rng.uniform(1, 2, n).round(2)
    y = (X["a"] + rng.standard_normal(20)[patient]).rename("y")
    X.assign(patient=patient, weight=weight, y=y).to_csv(tmp_path / "t.csv", index=False)
    options = [
        "--groups",
        "patient",
        "--weights",
        "weight",
        "--also",
        "sklearn.linear_model:Ridge",
        "--random-state",
        "3",
    ]
    files = ["--json", str(tmp_path / "out.json"), "--save", str(tmp_path / "model.skops")]
    protocol = ["--models", "linear", "--cv", "3", "--repeats", "1", "--n-jobs", "1", "--scoring", "r2"]
    assert main(["compare", str(tmp_path / "t.csv"), *protocol, *options, *files]) == 0
    written = json.loads((tmp_path / "out.json").read_text())
    python = {"groups": patient, "sample_weight": weight, "also": {"Ridge": Ridge()}, "random_state": 3}
    expected = compare(X, y, models=["linear"], cv=3, repeats=1, scoring="r2", **python)
    assert [row["loss"] for row in written["methods"]] == pytest.approx([row["loss"] for row in expected.methods])
    assert [row["method"] for row in written["methods"]] == ["dummy", "linear", "Ridge"]
    assert written["settings"]["n_clusters"] == 20
    model = winner(expected, X, y, sample_weight=weight, also={"Ridge": Ridge()})
    np.testing.assert_allclose(load(tmp_path / "model.skops")[0].predict(X), model.predict(X))
    with pytest.raises(ValueError, match="sample_weight: expected the weights of the comparison"):
        winner(expected, X, y, also={"Ridge": Ridge()})


def test_a_journal_saves_the_work_of_a_second_run(table, tmp_path, capsys):
    options = [
        "--models",
        "linear",
        "--cv",
        "2",
        "--repeats",
        "1",
        "--n-jobs",
        "1",
        "--journal",
        str(tmp_path / "fits"),
    ]
    printed = []
    for _ in range(2):
        assert main(["compare", str(table), *options]) == 0
        printed.append(capsys.readouterr())
    assert "5 of 5 fits are in" in printed[1].err
    assert printed[0].out == printed[1].out


def test_the_standard_input_is_compared(monkeypatch, capsys):
    class Input:
        buffer = io.BytesIO(b"x,kind,y\n" + ROWS.encode())

    monkeypatch.setattr("sys.stdin", Input)
    assert main(["compare", "-", "--models", "linear", "--cv", "2", "--repeats", "1", "--n-jobs", "1"]) == 0
    assert "standard input, predicting 'y'" in capsys.readouterr().err


@pytest.fixture
def locked():
    """A folder that may be read but not written to, for root as well, who becomes nobody."""
    folder = Path(tempfile.mkdtemp())  # those of pytest are for their owner only
    folder.chmod(0o555)
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    if root:
        os.seteuid(65534)
    yield folder
    if root:
        os.seteuid(0)
    folder.rmdir()


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
def test_a_folder_that_may_not_be_written_to_is_told_before_the_work(locked, capsys):
    assert main(["compare", "--json", str(locked / "out.json")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(
        f"ltdl compare: --json {locked / 'out.json'}: expected a file in a folder that exists and can be"
    )
    assert "(Permission denied)" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["compare", "--n_jobs", "2"], "ltdl compare: unrecognized arguments: --n_jobs; did you mean --n-jobs?"),
        (["suite", ".", "--margn=0.1"], "ltdl suite: unrecognized arguments: --margn=0.1; did you mean --margin?"),
        (
            ["predict", "m", "d", "--ouput", "f"],
            "ltdl predict: unrecognized arguments: --ouput f; did you mean --output?",
        ),
        (["regime", "m", "d", "--bogus"], "ltdl regime: unrecognized arguments: --bogus (ltdl regime --help lists"),
        (["compare", "f", "price"], "ltdl compare: unrecognized arguments: price; did you mean --target price?"),
        (["--verson"], "ltdl: unrecognized arguments: --verson; did you mean --version?"),
    ],
)
def test_an_unknown_option_is_refused_by_its_command_with_the_one_that_is_near(words, said, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(said)
    assert error.count("\n") == 1


def test_short_options_are_the_long_ones_and_quiet_leaves_the_result(table, tmp_path, capsys):
    options = ["--models", "linear", "--cv", "2"]
    page = tmp_path / "page.html"
    assert main(["compare", str(table), *options, "-t", "price", "-j", "1", "-q", "-o", str(page)]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "Verdict: " in printed.out
    assert "predicting &#39;price&#39;" in page.read_text()
    assert main(["compare", str(table), *options, "--target", "price", "--n-jobs", "1"]) == 0
    loud = capsys.readouterr()
    assert "rows" in loud.err
    seconds = r"\d+\.\d+ +\d+\.\d+$"
    assert re.sub(seconds, "", loud.out, flags=re.M) == re.sub(seconds, "", printed.out, flags=re.M)


def test_models_of_the_help_are_those_of_the_comparison():
    assert tuple(METHODS) == MODELS


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ltdl com", {"compare"}),
        ("ltdl compare --total", {"--total-time"}),
        ("ltdl compare --task re", {"regression"}),
        ("ltdl compare --models linear r", {"rbf", "rfm", "rich"}),
    ],
)
def test_a_shell_completes_commands_options_and_values(line, expected, tmp_path):
    pytest.importorskip("argcomplete", reason="completes the command line")
    found = tmp_path / "found"
    completion = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line))}
    environment = os.environ | completion | {"_ARGCOMPLETE_STDOUT_FILENAME": str(found), "_ARGCOMPLETE_IFS": "\n"}
    command = [sys.executable, "-c", "from sklearn_ltdl.cli import main; main()"]
    subprocess.run(command, env=environment, check=True, cwd=tmp_path)
    assert set(found.read_text().replace(" ", "\n").split()) == expected


def test_help_version_and_bad_usage_import_nothing_slow():
    code = (
        "import sys; from sklearn_ltdl.cli import main\n"
        "try: main({arguments})\n"
        "except SystemExit as stop: print(stop.code, 'numpy' in sys.modules, file=sys.stderr)"
    )
    for arguments, status in (
        (["--help"], 0),
        (["--version"], 0),
        (["compare", "--help"], 0),
        (["compare", "--cv"], 2),
    ):
        run = [sys.executable, "-c", code.replace("{arguments}", str(arguments))]
        assert subprocess.run(run, capture_output=True, text=True).stderr.endswith(f"{status} False\n")


def test_version_and_help(capsys):
    for option, expected in (("--version", sklearn_ltdl.__version__), ("--help", "compare")):
        with pytest.raises(SystemExit) as stop:
            main([option])
        assert stop.value.code == 0
        assert expected in capsys.readouterr().out
    assert main([]) == 2
    assert "compare" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        main(["compare", "--cv", "many"])
    assert stop.value.code == 2


@pytest.mark.skipif(not hasattr(signal, "SIGINT") or sys.platform == "win32", reason="sends a POSIX signal")
def test_an_interruption_ends_at_once_with_exit_code_130(table):
    heard = "signal.signal(signal.SIGINT, signal.default_int_handler)"  # a process in the background ignores it
    code = f"import signal, sys; {heard}; from sklearn_ltdl.cli import main; sys.exit(main())"
    journal = table.with_name("fits.jsonl")
    command = [sys.executable, "-c", code, "compare", table, "--n-jobs", "2", "--repeats", "50", "--journal", journal]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    while "[" not in process.stderr.readline():
        pass
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert time.monotonic() - start < 30
    assert process.returncode == 130, errors
    assert errors.splitlines()[-1].startswith("ltdl compare: interrupted; ")
    assert errors.endswith(f" fits are done and kept in {journal}; run again with it to resume.\n")
    kept = int(errors.splitlines()[-1].split()[3])
    assert len(Journal(journal).results) == kept > 0
    assert "Traceback" not in errors


@pytest.mark.skipif(not hasattr(signal, "SIGINT") or sys.platform == "win32", reason="sends a POSIX signal")
@pytest.mark.parametrize("seconds", [0.0, 0.2, 0.5])  # in the middle of imports
def test_an_interruption_in_the_first_second_has_no_traceback(seconds, table):
    heard = "signal.signal(signal.SIGINT, signal.default_int_handler)"
    start = "from sklearn_ltdl.cli import main; print('go', flush=True); sys.exit(main())"
    code = f"import signal, sys; {heard}; {start}"
    command = [sys.executable, "-c", code, "compare", table]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors.endswith(": interrupted\n")
    assert "Traceback" not in errors


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")
def test_a_reader_that_has_enough_is_no_error(tmp_path):
    code = "import sys; from sklearn_ltdl.cli import main; sys.exit(main())"
    save(make_table_pipeline(LinearRegression()).fit(np.eye(2), [1.0, 2.0]), tmp_path / "model.skops")
    np.savetxt(tmp_path / "new.csv", np.eye(2)[np.arange(20_000) % 2], delimiter=",", header="a,b", comments="")
    command = [sys.executable, "-c", code, "predict", tmp_path / "model.skops", tmp_path / "new.csv"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "prediction\n"
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait() == 0


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")
def test_files_are_written_although_nobody_reads_the_table(table, tmp_path):
    code = "import sys; from sklearn_ltdl.cli import main; sys.exit(main())"
    files = ["--json", tmp_path / "out.json", "--save", tmp_path / "model.skops"]
    options = ["--models", "linear", "--cv", "2", "--repeats", "1", "--n-jobs", "1", *files]
    command = [sys.executable, "-c", code, "compare", table, *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        errors = process.stderr.read()
        assert process.wait() == 0, errors
    assert "Error" not in errors
    assert (tmp_path / "out.json").exists()
    assert (tmp_path / "model.skops").exists()


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
