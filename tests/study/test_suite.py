import json
import re
import signal
import subprocess
import sys
from html import unescape
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest

from sklearn_ltdl.cli import main
from sklearn_ltdl.study import compare, mean_ranks
from sklearn_ltdl.study._suite import Suite
from sklearn_ltdl.tables._files import read_table

FAST = ["--models", "linear", "ntk", "rbf", "--cv", "2", "--repeats", "1", "--n-jobs", "1"]


@pytest.fixture
def folder(tmp_path, rng):
    folder = tmp_path / "tables"
    folder.mkdir()
    for name, function in {
        "line.csv": lambda x: x.sum(axis=1),
        "bump.tsv": lambda x: np.exp(-(x**2).sum(axis=1)),
        "signs.csv.gz": lambda x: np.where(x[:, 0] * x[:, 1] > 0, "same", "other"),
    }.items():
        X = pd.DataFrame(rng.standard_normal((80, 2)), columns=["a", "b"])
        X.assign(y=function(X.to_numpy())).to_csv(folder / name, index=False, sep="\t" if "tsv" in name else ",")
    (folder / "broken.csv").write_text("x,y\n1,one\n2,one\n")
    (folder / "notes.txt").write_text("no table")
    (folder / "deeper").mkdir()
    return folder


def test_every_table_is_a_row_and_the_ranks_are_those_of_its_losses(folder, tmp_path, capsys):
    out = tmp_path / "suite.json"
    assert main(["suite", str(folder), *FAST, "--json", str(out), "--figure", str(tmp_path / "ranks.svg")]) == 1
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed[1:5]] == ["broken.csv", "bump.tsv", "line.csv", "signs.csv.gz"]
    assert "failed: y: expected at least two distinct values" in printed[1]
    assert "Verdicts of 3 tables: " in printed[6]
    assert printed[6].endswith("; 1 failed.")
    written = json.loads(out.read_text())
    assert [row["table"] for row in written["tables"] if row["failure"] is None] == list(written["comparisons"])
    alone = compare(*(lambda t: (t[["a", "b"]], t["y"]))(read_table(folder / "line.csv")[0]),
                    models=["linear", "ntk", "rbf"], cv=2, repeats=1)  # fmt: skip
    assert [m["loss"] for m in written["comparisons"]["line.csv"]["methods"]] == [m["loss"] for m in alone.methods]
    losses = pd.DataFrame(
        [{m["method"]: m["loss"] for m in c["methods"]} for c in written["comparisons"].values()]
    ).drop(columns="dummy")
    expected = mean_ranks(losses)
    assert written["ranks"]["methods"] == expected.to_frame().reset_index().to_dict("records")
    assert str(expected) in "\n".join(printed)
    assert "<svg" in (tmp_path / "ranks.svg").read_text()


def test_the_page_of_a_suite_has_the_sentences_and_links_to_a_page_of_each_table(folder, tmp_path, capsys):
    out = tmp_path / "pages" / "all.html"
    out.parent.mkdir()
    json_file = tmp_path / "suite.json"
    command = ["suite", str(folder), *FAST, "-t", "y", "-o", str(out), "--json", str(json_file), "-q"]
    assert main(command) == 1
    assert capsys.readouterr().err == ""  # nothing but the result
    page = unescape(out.read_text())
    comparisons = json.loads(json_file.read_text())["comparisons"]
    linked = re.findall(r'<a href="([^"]+)">([^<]+)</a>', page)
    assert [name for _, name in linked] == list(comparisons)
    for link, name in linked:
        sentence = comparisons[name]["verdict"]["recommendation"]["sentence"]
        assert sentence in page
        table = " ".join(unescape((out.parent / unquote(link)).read_text()).split())
        assert sentence in table
        command = f"ltdl compare {folder / name} --target y --models linear ntk rbf --cv 2 --n-jobs 1"
        assert f"$ {command} --save model.skops" in table
    assert "expected at least two distinct values" in page
    assert sorted(path.name for path in out.parent.iterdir()) == sorted(["all.html", *(link for link, _ in linked)])


def test_how_a_table_was_read_is_told_with_its_name(folder, capsys):
    for path in folder.glob("[!l]*"):
        if path.is_file():
            path.unlink()
    text = (folder / "line.csv").read_text()
    (folder / "line.csv").write_text(text.replace(",", ";").replace(".", ","))
    assert main(["suite", str(folder), "--models", "linear", "--cv", "2", "--n-jobs", "1"]) == 0
    assert "line.csv: Decimal commas are read in a, b, y." in capsys.readouterr().err.replace("'", "")


def test_a_model_that_fails_is_told_and_ranked_last(folder, tmp_path, capsys):
    (folder / "broken.csv").unlink()
    (folder / "signs.csv.gz").unlink()
    options = ["--also", "sklearn.svm:SVC", "--json", str(tmp_path / "suite.json")]  # which takes classes only
    assert main(["suite", str(folder), *FAST, *options]) == 1
    printed = capsys.readouterr().out.splitlines()
    assert all(line.endswith("models that failed: SVC") for line in printed[1:3])
    ranks = json.loads((tmp_path / "suite.json").read_text())["ranks"]["methods"]
    assert (ranks[-1]["method"], ranks[-1]["mean_rank"]) == ("SVC", 4.0)


def test_whatever_one_table_raises_the_others_are_compared():
    suite, options = Suite(), {"models": ["linear"], "cv": 2, "repeats": 1}
    assert suite.run("broken", lambda: {}["lost"], **options)["failure"] == "KeyError: 'lost'"
    assert suite.run("whole", lambda: (np.eye(40), np.arange(40.0)), **options)["failure"] is None


def test_a_named_target_and_a_single_table(folder, capsys):
    for name in ("bump.tsv", "signs.csv.gz", "broken.csv"):
        (folder / name).unlink()
    assert main(["suite", str(folder), *FAST, "--target", "a"]) == 0
    printed = capsys.readouterr()
    assert "predicting column 'a' of each" in printed.err
    assert "Mean ranks need at least two tables" in printed.out
    assert main(["suite", str(folder), *FAST, "--target", "nowhere"]) == 1
    assert "line.csv                     failed: The table has no column 'nowhere'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{folder}/line.csv"], "expected a folder of tables; a single one is for ltdl compare"),
        (["{folder}/deeper"], "expected CSV, TSV or Parquet files, got none among 0 files"),
        (["{folder}", "--figure", "ranks.doc"], "expected a name that ends with .png, .svg or .pdf"),
        (["{folder}", "--json", "{folder}/nowhere/out.json"], "a folder that exists"),
        (["{folder}", "--json", "{folder}/line.csv"], "expected another file than the table line.csv, which would"),
    ],
)
def test_bad_usage_is_one_sentence(folder, arguments, message, capsys):
    assert main(["suite", *(argument.format(folder=folder) for argument in arguments)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("ltdl suite: ")
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal")
def test_what_is_done_is_kept_when_it_is_interrupted(folder, tmp_path):
    (folder / "broken.csv").unlink()
    large = np.random.default_rng(0).standard_normal((20_000, 20))  # on which a forest takes a minute
    pd.DataFrame(large).to_csv(folder / "large.csv", index=False)
    heard = "signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"import signal, sys; {heard}; from sklearn_ltdl.cli import main; sys.exit(main())"
    options = ["--models", "linear", "forest", "--cv", "2", "--repeats", "1", "--json", tmp_path / "out.json"]
    command = [sys.executable, "-c", code, "suite", folder, *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        while not process.stdout.readline().startswith("bump.tsv"):
            pass
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Interrupted: 1 of 4 tables are done." in errors
    assert "Verdicts of 1 tables" in out
    assert list(json.loads((tmp_path / "out.json").read_text())["comparisons"]) == ["bump.tsv"]
