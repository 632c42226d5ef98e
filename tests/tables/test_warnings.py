"""Warnings on a table: each rule by itself, and that it is silent on tables without the trouble."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine

from sklearn_ltdl import compare
from sklearn_ltdl.tables import _warnings
from sklearn_ltdl.tables._columns import read_columns
from sklearn_ltdl.tables._target import read_target
from sklearn_ltdl.tables._warnings import WARNINGS, Examined, warnings_of

N = 200


def examined(y, *, grouped=False, log=False, task="auto", **columns):
    X, read = read_columns(pd.DataFrame(columns))
    kept = [column for column in read if column.kind != "left out"]
    return Examined(X, kept, read_target(y, task), np.arange(len(y)) + 1, grouped, log)


def found(rule, *arguments, **options):
    return getattr(_warnings, rule)(examined(*arguments, **options))


def test_every_rule_has_a_test():
    assert {f"test_{rule.__name__}" for rule in WARNINGS} <= {*globals()}


def test_cuts(rng):  # the weight of newborns, and who is light
    weight = rng.normal(3000, 700, N)
    near = (weight + rng.normal(0, 300, N) < 2500).astype(int)
    size = np.array(["s", "m", "l"])[np.searchsorted([2500, 3200], weight)]
    note = found("cuts", weight, low=(weight < 2500).astype(int), near=near, size=size)
    assert note.code == "cut"
    assert "'low', 'size' cut the target into ranges that do not overlap" in note
    assert found("cuts", weight, near=near, few=np.arange(N) == weight.argmax()) is None
    assert found("cuts", np.searchsorted([2500, 3200], weight), size=size) is None  # classes


@pytest.mark.parametrize("unit", [1e-200, 1e200])
def test_leak_in_any_unit(rng, unit):
    z = rng.standard_normal(N)
    for y in (z, (z > 0).astype(int)):
        assert found("leak", y, x=unit * rng.standard_normal(N)) is None
        assert found("leak", y, copy=unit * z).code == "leak"


def test_leak(rng):
    x, z = rng.standard_normal((2, N))
    y = z + 0.5 * rng.standard_normal(N)
    assert found("leak", y, x=x, z=z) is None
    assert found("leak", y, x=x, copy=1.2 * y + 3).code == "leak"
    assert "'curve' alone predicts nearly all" in found("leak", y, x=x, curve=np.exp(y))
    levels = np.array(list("uvw"))[rng.integers(3, size=N)]
    assert found("leak", np.round(8 * z).clip(-15, 15) ** 2, root=np.round(8 * z).clip(-15, 15), z=x).code == "leak"
    assert found("leak", np.searchsorted(list("uvw"), levels) + 0.001 * x, kind=levels).code == "leak"
    assert found("leak", y, kind=levels, own=[f"{k // 2}" for k in range(N)]) is None  # levels of two rows
    answer = np.where(z > 0, "yes", "no")
    assert found("leak", answer, x=x, z=z).code == "leak"
    assert found("leak", answer, x=x, said=np.where(z > 0, "A", "B")).code == "leak"
    assert found("leak", answer, x=x, rough=z + rng.standard_normal(N)) is None
    spent = np.where(z > 0, np.exp(x), 0.0)  # nothing unless accepted, and nothing of a few who were
    spent[np.flatnonzero(spent)[:3]] = 0
    assert found("leak", answer, spent=spent).code == "leak"


def test_sorted_time(rng):
    x, days = rng.standard_normal(N), pd.date_range("2020-01-01", periods=N)
    assert "use --time day" in found("sorted_time", x, x=x[::-1], day=days)
    assert found("sorted_time", x, x=x[::-1], day=days[::-1]).code == "sorted time"
    assert found("sorted_time", x, x=x[::-1], year=np.arange(1800, 1800 + N)).code == "sorted time"
    assert found("sorted_time", x, x=x[::-1], day=days[rng.permutation(N)]) is None
    assert found("sorted_time", x, x=x[::-1], size=np.arange(N) * 2) is None  # not time by its name
    assert found("sorted_time", x, x=x[::-1], day=days, grouped=True) is None


def test_repeated_identifiers(rng):
    x, patient = rng.standard_normal(N), np.arange(N) // 5
    assert "say --groups patient_id" in found("repeated_identifiers", x, x=x[::-1], patient_id=patient)
    assert "say --groups chick" in found("repeated_identifiers", x, x=x[::-1], chick=patient)
    assert found("repeated_identifiers", x, x=x[::-1], patient_id=patient, grouped=True) is None
    assert found("repeated_identifiers", x, x=x[::-1], floor=patient) is None
    assert found("repeated_identifiers", x, x=x[::-1], school_type=patient) is None


def test_few_events(rng):
    x = rng.standard_normal(N)
    few = found("few_events", np.arange(N) < 6, x=x)
    assert "'True' 6" in few
    assert found("few_events", np.arange(N) < 10, x=x) is None
    assert found("few_events", x, x=x) is None


def test_look_alike_classes(rng):
    x = rng.standard_normal(N)
    assert found("look_alike_classes", ["Yes", "yes", "no", "No."] * 50, x=x).code == "look alike"
    assert found("look_alike_classes", ["yes", "no"] * 100, x=x) is None


def test_heavy_tails(rng):
    x, normal = rng.standard_normal(N), rng.standard_normal(N)
    heavy = np.exp(2 * normal)
    note = found("heavy_tails", heavy, x=x)
    most = np.argmax(heavy) + 1
    assert f"({most}, " in note or f"Row {most} " in note
    assert note.endswith("try --log.")
    assert not found("heavy_tails", heavy - 1, x=x).endswith("try --log.")  # below zero
    assert found("heavy_tails", np.log(heavy), x=x) is None
    assert found("heavy_tails", normal[:40], x=x[:40], task="regression") is None  # few rows, but no tail
    # (sum l)^2 / sum l^2 by hand: 199 losses near 0 and one of 1
    one = np.where(np.arange(N) == 17, 100.0, rng.uniform(0, 0.01, N))
    assert "Row 18 makes half of the loss, and 1 of 200 rows are effective" in found("heavy_tails", one, x=x)


@pytest.mark.parametrize("load", [load_diabetes, load_breast_cancer, load_wine, load_iris])
def test_well_known_tables_give_no_warning(load):
    X, y = load(return_X_y=True, as_frame=True)
    assert warnings_of(examined(y.to_numpy(), **X)) == []


def test_warnings_are_settings_and_come_first(rng):
    X = pd.DataFrame({"x": rng.standard_normal(N), "day": pd.date_range("2020-01-01", periods=N)})
    y = np.where(np.arange(N) % 40 == 0, "ill", "well")
    comparison = compare(X, y, models=["linear"], cv=2)
    assert [note.code for note in comparison.settings["warnings"]] == ["sorted time", "few events"]
    assert str(comparison).startswith("Warning: The rows are in the order of 'day'")
    assert comparison.settings["class_counts"] == {"ill": 5, "well": 195}
    assert "2 classes by rows: 'well' 195, 'ill' 5." in comparison.settings["notes"]
    page = comparison.to_html()
    assert page.index("The rows are in the order of") < page.index("<h2")  # before the models


def test_the_verdict_on_few_events_is_unclear(rng):
    x = np.r_[rng.normal(9, 1, 8), rng.normal(0, 1, N - 8)]
    y = np.where(np.arange(N) < 8, "ill", "well")
    comparison = compare(pd.DataFrame({"x": x}), y, models=["linear"], cv=2)
    assert comparison.verdict.code == "unclear"
    assert comparison.verdict.sentence.startswith("Some class has fewer than 10 rows, too few for a verdict")
