"""Networks of rows that are read block by block learn as those in memory, whatever the order of the rows."""

import numpy as np
import pandas as pd
import pytest

from sklearn_ltdl import (
    LazyNetClassifier,
    LazyNetRegressor,
    MeanFieldTwoLayerNet,
    MeanFieldTwoLayerNetClassifier,
    NTKKernelClassifier,
    NTKKernelRegressor,
    scan,
)
from sklearn_ltdl.networks import _streamed
from sklearn_ltdl.networks._mean_field import first_weights
from sklearn_ltdl.networks._tables import regression_table

NAMES = list("abc")
FIT = MeanFieldTwoLayerNet(width=32, alpha=1e-4, batch_size=32, max_iter=4, random_state=0)
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # few passes, to be fast


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((4000, 3))
    table = pd.DataFrame(X, columns=NAMES).assign(y=5 + 2 * np.abs(X[:, 0]) + X[:, 1] + 0.1 * rng.standard_normal(4000))
    return table.assign(z=-X[:, 2], k=np.digitize(table["y"], [6.0, 8.0]), w=rng.integers(0, 3, 4000), g=0)


@pytest.fixture
def small_windows(monkeypatch):
    """Windows of 2000 rows, and rounds of at most 250."""
    monkeypatch.setattr(_streamed, "WINDOW_NUMBERS", 2000 * 7)
    monkeypatch.setattr(_streamed, "ROUND_ROWS", 250)


def parquet(table, folder, target="y", group=200, **how):
    table.to_parquet(folder / "table.parquet", row_group_size=group, index=False)
    return scan(folder / "table.parquet", target=target, columns=NAMES, **how)


def streamed(rows, fraction=None):
    """Return the stream of some rows, the validation set, and the rows of the rounds of a pass, by their columns."""
    table, _ = regression_table(FIT, rows, None, None, takes_rows=True)
    start = first_weights(FIT, 4, table.targets.shape[1], np.random.default_rng(0))
    stream, held_out = table.stream, None
    if fraction is not None:
        held_out, _, stream = stream.split(table.data(start), fraction)
    return stream, held_out, lambda seed=0: stream.rounds(start, np.random.default_rng(seed), np.float64)


def numbers_of(table, phi):
    """Return the number of each row of phi in a table."""
    x = np.sort(table["a"].to_numpy())
    place = np.searchsorted(x, phi[:, 0] * np.sqrt(3) - 1e-9)
    return np.argsort(table["a"].to_numpy())[place]


@pytest.mark.parametrize("is_whole", [True, False])
def test_every_row_trains_but_those_that_validate(table, tmp_path, monkeypatch, is_whole):
    monkeypatch.setattr(_streamed, "ROUND_ROWS", 500)
    if not is_whole:
        monkeypatch.setattr(_streamed, "WINDOW_NUMBERS", 1000 * 7)
    stream, held_out, rounds = streamed(parquet(table, tmp_path), 0.1)
    validating = numbers_of(table, held_out.phi)
    assert len(set(validating)) == 400
    assert stream.n == 3600
    assert stream.rounds_in_pass == 8
    some = [numbers_of(table, rows.phi) for rows, _ in zip(rounds(), range(16 if is_whole else 12))]
    seen = np.concatenate(some)
    assert not np.isin(validating, seen).any()
    if is_whole:  # drawn without replacement, in another order in each pass
        assert [len(set(seen[:3600])), len(set(seen[3600:]))] == [3600, 3600]
        assert (seen[:3600] != seen[3600:]).any()
    else:  # one and a half passes, and rows of a second pass in the window
        assert len(set(seen)) == 3600
        assert np.bincount(seen).max() == 2
    again = [numbers_of(table, rows.phi) for rows, _ in zip(rounds(), range(len(some)))]
    np.testing.assert_array_equal(np.concatenate(again), seen)


def test_windows_of_a_sorted_file_look_like_the_whole(table, tmp_path, small_windows):
    _, _, rounds = streamed(parquet(table.sort_values("y"), tmp_path))
    means = [rows.targets.mean() for rows, _ in zip(rounds(), range(80))]  # in standard deviations of the target
    # The means of 20 row groups vary by 1, those of seven drawn at random by .3, and those of 250 rows by .063.
    assert np.std(means) < 0.2
    assert abs(np.mean(means)) < 0.05


def test_weights_are_repetitions(table, tmp_path):
    (tmp_path / "again").mkdir()
    repeated = table.loc[table.index.repeat(table["w"])]
    sums = []
    for rows in (parquet(table, tmp_path, weight="w"), parquet(repeated, tmp_path / "again")):
        stream, _, rounds = streamed(rows)
        (data,) = (rows for rows, _ in zip(rounds(), range(1)))  # one round is a pass over all rows
        assert data.weight.sum() == pytest.approx(1)
        sums.append(np.append(data.weight @ data.phi, data.weight @ data.targets**2))
        assert (stream.n, len(data.phi)) == (
            (table["w"] > 0).sum() if stream.rows.columns.weight else len(repeated),
        ) * 2
    np.testing.assert_allclose(*sums, rtol=1e-12)  # the units of the target, and the mean loss, are the same
    assert sums[0][-1] == pytest.approx(1)


def test_empty_row_groups_and_one_block_are_read(table, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows, empty = (
        pa.Table.from_pandas(table, preserve_index=False),
        pa.Table.from_pandas(table[:0], preserve_index=False),
    )
    with pq.ParquetWriter(tmp_path / "table.parquet", rows.schema) as writer:
        for part in (empty.cast(rows.schema), rows[:3000], empty.cast(rows.schema), rows[3000:]):
            writer.write_table(part)
    (tmp_path / "one").mkdir()
    for source in (scan(tmp_path, target="y", columns=NAMES), parquet(table, tmp_path / "one", group=5000)):
        _, _, rounds = streamed(source)
        assert sorted(numbers_of(table, next(rounds()).phi)) == list(range(4000))


def test_files_sorted_by_the_target_do_no_harm(table, tmp_path, small_windows):
    scores = []
    for frame in (table, table.sort_values("y")):
        scores.append(FIT.fit(parquet(frame, tmp_path)).score(table[NAMES], table["y"]))
        assert FIT.n_iter_ == 4
        assert len(FIT.loss_curve_) == 4 * 15  # rounds
        assert FIT.solver_ == "adam"
        assert FIT.certificate_ is None
    assert min(scores) > 0.97  # 0.985 and 0.983
    assert list(FIT.feature_names_in_) == NAMES


def test_dask_arrays_are_read_like_the_row_groups_of_a_file(table, tmp_path, small_windows):
    da = pytest.importorskip("dask.array", reason="needs the extra dask")
    expected = FIT.fit(parquet(table, tmp_path)).particles_
    X, y = (da.from_array(table[names].to_numpy(), chunks=200) for names in (NAMES, "y"))
    np.testing.assert_array_equal(FIT.fit(X, y).particles_, expected)


def test_classes_and_their_weights(table, tmp_path):
    model = MeanFieldTwoLayerNetClassifier(width=32, alpha=1e-4, batch_size=32, max_iter=8, random_state=0)
    model.fit(parquet(table.sort_values("k"), tmp_path, target="k", weight="w"))
    assert model.classes_.tolist() == [0, 1, 2]
    assert model.score(table[NAMES], table["k"]) > 0.9
    balanced = model.set_params(class_weight="balanced", max_iter=1).fit(parquet(table, tmp_path, target="k"))
    assert balanced.predict_proba(table[NAMES]).mean(axis=0) == pytest.approx([1 / 3] * 3, abs=0.1)


@pytest.mark.parametrize("mode", ["nonlinear", "linearized"])
def test_lazy_networks_take_their_penalty_from_the_sample(table, tmp_path, mode):
    model = LazyNetRegressor(width=32, mode=mode, max_iter=5, random_state=0)
    alpha = model.fit(table[NAMES], table["y"]).alpha_
    model.fit(parquet(table.sort_values("y"), tmp_path))
    assert model.alpha_ == pytest.approx(alpha, rel=1.0)  # the same ridge, n alpha, of other rows
    assert model.score(table[NAMES], table["y"]) > 0.8
    assert model.displacement_ < 0.1


@pytest.mark.parametrize("target", ["y", ["y", "z"], "k"])
def test_the_kernel_of_a_network_takes_rows(table, tmp_path, target):
    """It is the machine with that kernel on the same centres, whatever the order of the rows."""
    is_label = target == "k"
    kind, machine = (LazyNetClassifier, NTKKernelClassifier) if is_label else (LazyNetRegressor, NTKKernelRegressor)
    few = table[:600]
    rows = parquet(few, tmp_path, target=target, weight="w")
    model = kind(width=16, mode="kernel", random_state=0).fit(rows)
    kernel = (
        kind(width=16, mode="kernel", random_state=0).fit(few[NAMES][:50], few[target][:50]).kernel_machine_.kernel_
    )
    X, Z = few[NAMES].to_numpy()[:30], model.kernel_machine_.X_fit_
    np.testing.assert_array_equal(model.kernel_machine_.kernel_(X, Z), kernel(X, Z))  # of the same weights
    expected = machine(kernel=kernel, random_state=0).fit(rows)
    np.testing.assert_array_equal(model.predict(few[NAMES]), expected.predict(few[NAMES]))
    assert model.score(few[NAMES], few[target]) > 0.8


def test_small_tables_are_read_as_arrays(table, tmp_path):
    few, few_labels = table[:150], table[:150].assign(k=table["k"] > 0)
    expected = FIT.fit(few[NAMES], few["y"], few["w"])
    predictions, gap = expected.predict(table[NAMES]), expected.certificate_.gap
    found = FIT.fit(parquet(few.sort_values("y"), tmp_path, weight="w"))
    np.testing.assert_array_equal(found.predict(table[NAMES]), predictions)
    assert (found.solver_, found.certificate_.gap) == ("gd", gap)
    model = LazyNetClassifier(width=8, alpha=0.1, max_iter=20)
    assert model.fit(parquet(few_labels, tmp_path, target="k")).score(few[NAMES], few_labels["k"]) > 0.7
    assert FIT.fit(parquet(table[:1], tmp_path)).predict(table[:1][NAMES]) == pytest.approx(table["y"][0], rel=1e-3)


def test_a_fit_continues_from_the_last(table, tmp_path):
    model = MeanFieldTwoLayerNet(width=32, alpha=1e-4, batch_size=32, max_iter=1, warm_start=True, random_state=0)
    first = model.fit(parquet(table, tmp_path)).validation_loss_curve_
    second = model.fit(parquet(table, tmp_path)).validation_loss_curve_
    assert second[0] == pytest.approx(first[1], rel=0.05)  # but for the intercept, which was fitted to other rows
    with pytest.raises(ValueError, match="feature names should match"):
        model.fit(scan(tmp_path / "table.parquet", target="y", columns=["a", "b", "z"]))
    with pytest.raises(ValueError, match="y has 2 columns, but the last fit had 1"):
        model.fit(parquet(table, tmp_path, target=["y", "z"]))


def test_what_cannot_be_read_or_trained_is_named(table, tmp_path):
    broken = table.assign(b=table["b"].where(table.index < 3999))
    with pytest.raises(ValueError, match=r"table.parquet, row group 19: 'b' has NaN in row 199, and in 1 rows"):
        FIT.fit(parquet(broken, tmp_path))
    rows = parquet(table, tmp_path)
    for parameters in ({"solver": "gd"}, {"solver": "frank_wolfe"}, {"temperature": 0.1, "activation": "tanh"}):
        with pytest.raises(
            ValueError, match="A fit of Rows trains in batches: it needs solver='auto', 'sgd' or 'adam'"
        ):
            MeanFieldTwoLayerNet(**parameters).fit(rows)
    with pytest.raises(TypeError, match=r"X is Rows, which .* does not take here"):
        MeanFieldTwoLayerNet().partial_fit(rows, table["y"])
    with pytest.raises(ValueError, match=r"class_weight='balanced' needs arrays in mode 'kernel', and X is Rows"):
        LazyNetClassifier(mode="kernel", class_weight="balanced").fit(rows)
    with pytest.raises(ValueError, match="y has one class, 0, among the rows of positive weight"):
        LazyNetClassifier().fit(parquet(table, tmp_path, target="g"))
    lost = "next to which the constant input of 1 is lost in rounding"
    with pytest.warns(UserWarning, match="differ in scale"), pytest.raises(ValueError, match=lost):
        FIT.fit(parquet(table.assign(a=1e16 * (table.index == 3999)), tmp_path))
