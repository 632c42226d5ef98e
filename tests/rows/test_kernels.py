"""Kernel machines of rows that are read block by block are those of the same rows in memory."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from sklearn_ltdl import (
    NTKKernelClassifier,
    NTKKernelRegressor,
    NTKNystroem,
    RFMClassifier,
    RFMRegressor,
    SAGRegressor,
    scan,
)
from sklearn_ltdl.ntk import NTK, _solvers, _streamed
from sklearn_ltdl.ntk._agop import ntk_agop
from sklearn_ltdl.ntk._nystroem import solve_nystroem

D = 4
NAMES = list("abcd")


def problem(rng, n=3000, copies=False):
    X = rng.standard_normal((n, D))
    table = pd.DataFrame(X, columns=NAMES)
    table["y"] = np.abs(X[:, 0]) + X[:, 1] + 0.3 * rng.standard_normal(n)
    table["z"] = 10 + 3 * np.tanh(X[:, 2])
    table["k"] = np.where(table["y"] > 1.5, "high", np.where(table["y"] > 0.5, "middle", "low"))
    table["w"] = rng.integers(0, 3, n)
    return table


def parquet(table, folder, **how):
    table.to_parquet(folder / "table.parquet", row_group_size=170, index=False)
    return scan(folder / "table.parquet", columns=NAMES, **how)


def in_memory(model, table, Y, weight, n_rows):
    """Return predictions at the rows of a solution in memory with the centres and the penalty of a model."""
    X, Z, kernel = table[NAMES].to_numpy(), model.X_fit_, model.kernel_
    K = kernel(Z)
    place = [int(np.flatnonzero((z == X).all(axis=1))[0]) for z in Z]
    scale = np.average(np.diagonal(K), weights=weight[place])
    s = weight * (n_rows / weight.sum())
    path = solve_nystroem(
        lambda rows: kernel(X[rows], Z) / scale, K / scale, np.array(place), Y, s, np.array([model.alpha_ / scale])
    )
    return kernel(X, Z) @ path.coef / scale + path.intercept


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_regression_is_that_of_the_same_centres_in_memory(rng, tmp_path, monkeypatch, weighted, single):
    monkeypatch.setattr(_streamed, "DOUBLE_ENTRIES", 0 if single else np.inf)
    table = problem(rng)
    rows = parquet(table, tmp_path, target=["y", "z"], weight="w" if weighted else None)
    kernel = "ntk" if single else "auto"
    model = NTKKernelRegressor(kernel=kernel, n_components=100, random_state=0).fit(rows)
    weight = table["w"].to_numpy(float) if weighted else np.ones(len(table))
    used = np.flatnonzero(weight)
    expected = in_memory(model, table.iloc[used], table[["y", "z"]].to_numpy()[used], weight[used], len(used))
    found = model.predict(table[NAMES].iloc[used])
    # Kernel values in single precision move predictions by some 1e-4 deviations of the target, as they do in memory.
    np.testing.assert_allclose(found, expected, rtol=0, atol=(1e-3 if single else 1e-9) * table["y"].std())
    assert model.solver_ == "nystroem"
    assert list(model.feature_names_in_) == NAMES
    assert not hasattr(model, "loo_predictions_")


def test_weights_are_repetitions(rng, tmp_path):
    table = problem(rng, n=600)
    (tmp_path / "again").mkdir()
    again = parquet(table.loc[table.index.repeat(table["w"])], tmp_path / "again", target="y")
    models = []
    for rows in (parquet(table, tmp_path, target="y", weight="w"), again):
        models.append(NTKKernelRegressor(n_components=600, depth=1, alpha=0.1, random_state=0).fit(rows))
    X = pd.DataFrame(rng.standard_normal((50, D)), columns=NAMES)  # all points are centres of both: one solution
    np.testing.assert_allclose(models[0].predict(X), models[1].predict(X), rtol=0, atol=1e-6)


def test_the_penalty_is_chosen_by_exact_leave_one_out(rng, tmp_path):
    table = problem(rng, n=300)
    rows = parquet(table, tmp_path, target="y")
    model = NTKKernelRegressor(kernel=NTK(1), n_components=40, random_state=0).fit(rows)
    errors = model.loo_error_path_
    assert model.alpha_ == model.alphas_[np.argmin(errors)]
    X, y = table[NAMES].to_numpy(), table["y"].to_numpy()
    K, G = model.kernel_(X, model.X_fit_), model.kernel_(model.X_fit_)
    left_out = model._machine.left_out  # of all rows: there are fewer than the sample would hold
    outside = [j for j in range(300) if not (model.X_fit_ == X[j]).all(axis=1).any()]
    assert len(outside) == 260
    for j in outside[:5]:  # refits to the other rows, the ridge being that of all
        rest = np.delete(np.arange(300), j)
        Z, mean = K[rest] - K[rest].mean(axis=0), y[rest].mean()
        coef = np.linalg.solve(Z.T @ Z + 300 * model.alpha_ * G, Z.T @ (y[rest] - mean))
        np.testing.assert_allclose(left_out[j], mean + (K[j] - K[rest].mean(axis=0)) @ coef, rtol=1e-6)


@pytest.mark.parametrize("labels", [np.arange(60), [f"plot {k}" for k in range(60)]], ids=["numbers", "texts"])
def test_groups_are_left_out_together_and_give_no_centres(rng, tmp_path, labels):
    table = problem(rng, n=300).assign(g=np.asarray(labels)[rng.permutation(300) % 60])
    rows = parquet(table, tmp_path, target="y", weight="w", groups="g")
    model = NTKKernelRegressor(kernel=NTK(1), n_components=40, random_state=0).fit(rows)
    assert model.alpha_ == model.alphas_[np.argmin(model.loo_error_path_)]
    X, y, w, Z = table[NAMES].to_numpy(), table["y"].to_numpy(), table["w"].to_numpy(float), model.X_fit_
    K, G, n = model.kernel_(X, Z), model.kernel_(Z), np.count_nonzero(w)
    s = w * (n / w.sum())
    machine = model._machine
    judged = [int(np.flatnonzero(np.isclose(y, target, rtol=1e-12))[0]) for target in machine_targets(machine)]
    left = set(table["g"].iloc[judged])
    assert 15 < len(left) < 45
    assert sorted(judged) == np.flatnonzero(table["g"].isin(left) & (w > 0)).tolist()  # whole groups
    assert not {table["g"][np.flatnonzero((z == X).all(axis=1))[0]] for z in Z} & left
    for group in sorted(left)[:4]:  # refits to the other rows, the ridge being that of all
        out = np.flatnonzero((table["g"] == group) & (w > 0))
        rest = np.where(table["g"] == group, 0.0, s)
        mean, shift = rest @ y / rest.sum(), rest @ K / rest.sum()
        centred = K - shift
        coef = np.linalg.solve((centred.T * rest) @ centred + n * model.alpha_ * G, (centred.T * rest) @ (y - mean))
        found = [machine.left_out[judged.index(row)] for row in out]
        np.testing.assert_allclose(np.ravel(found), mean + centred[out] @ coef, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("target", ["y", "k"])
def test_recursions_leave_out_groups_as_in_memory(rng, tmp_path, target):
    table = problem(rng, n=300).assign(g=rng.permutation(300) % 60)
    estimator = (RFMRegressor if target == "y" else RFMClassifier)(max_rounds=1, random_state=0)
    model = estimator.fit(parquet(table.drop(columns="w"), tmp_path, target=target, groups="g"))
    memory = clone(estimator).fit(table[NAMES], table[target], groups=table["g"])
    assert (model.metric_, list(model.cv_errors_)) == (memory.metric_, list(memory.cv_errors_))
    for name, errors in memory.cv_errors_.items():
        np.testing.assert_allclose(model.cv_errors_[name], errors, rtol=1e-6)
    if target == "y":
        judged = {int(np.argmin(np.abs(table["y"] - value))) for value in machine_targets(model.estimator_._machine)}
        left = set(table["g"].iloc[list(judged)])
        assert 15 < len(left) < 45
        assert judged == set(np.flatnonzero(table["g"].isin(left)))  # whole groups


def machine_targets(machine):
    """Return the targets of the rows that a machine has left out."""
    return (machine.sample.targets[:, 0] * machine.units.scale + machine.units.mean).ravel()


def test_classes_are_those_of_the_same_centres_in_memory(rng, tmp_path):
    table = problem(rng)
    table = table.assign(two=table["y"] > 0.5)
    for labels, targets in (
        ("k", np.eye(3)[np.searchsorted(["high", "low", "middle"], table["k"])]),
        ("two", 2.0 * table["two"].to_numpy()[:, None] - 1),
    ):
        rows = parquet(table, tmp_path, target=labels, weight="w")
        model = NTKKernelClassifier(n_components=60, depth=1, random_state=0).fit(rows)
        used = np.flatnonzero(table["w"])
        weight = table["w"].to_numpy(float)[used]
        expected = in_memory(model, table.iloc[used], targets[used], weight, len(used))
        scores = model.decision_function(table[NAMES].iloc[used]).reshape(expected.shape)
        np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-8)
        probability = model.predict_proba(table[NAMES])
        np.testing.assert_array_equal(model.classes_[probability.argmax(axis=1)], model.predict(table[NAMES]))
        assert 0.01 <= model.inverse_temperature_ <= 100
        log_odds = model.inverse_temperature_ * scores[:, -1:]
        if labels == "two":
            expected = 1 / (1 + np.exp(-log_odds))
        else:
            odds = np.maximum(scores, 0.03) ** model.score_power_ * np.exp(model.inverse_temperature_ * scores)
            expected = odds[:, -1:] / odds.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(probability[used, -1:], expected, rtol=1e-9)
    assert list(model.classes_) == [False, True]


def test_files_sorted_by_the_target_do_no_harm(rng, tmp_path):
    table = problem(rng)
    errors = []
    for frame in (table, table.sort_values("y")):
        model = NTKKernelRegressor(n_components=200, random_state=0).fit(parquet(frame, tmp_path, target="y"))
        errors.append(np.mean((model.predict(table[NAMES]) - table["y"]) ** 2))
    assert errors[1] == pytest.approx(errors[0], rel=0.1)  # other centres: 0.097 and 0.098 here, of a variance of 1.3


def test_a_constant_target_is_predicted_exactly_and_few_rows_are_enough(rng, tmp_path):
    table = problem(rng).assign(y=0.1)
    model = NTKKernelRegressor(n_components=20).fit(parquet(table, tmp_path, target="y"))
    assert (model.predict(table[NAMES]) == 0.1).all()
    one = NTKKernelRegressor().fit(parquet(table[:1], tmp_path, target="y"))
    assert one.predict(table[NAMES][:2]).tolist() == [0.1, 0.1]


def test_intervals_come_from_the_sample(rng, tmp_path):
    table = problem(rng)
    model = NTKKernelRegressor(n_components=100, random_state=0).fit(parquet(table[:2000], tmp_path, target="y"))
    new = table[2000:]
    lower, upper = model.predict_interval(new[NAMES], 0.8)
    inside = np.mean((lower <= new["y"]) & (new["y"] <= upper))
    assert abs(inside - 0.8) < 4 * np.sqrt(0.8 * 0.2 / 1000)


def test_what_needs_arrays_is_refused(rng, tmp_path):
    table = problem(rng, n=300)
    rows = parquet(table, tmp_path, target="y")
    for solver in ("exact", "pcg"):
        with pytest.raises(ValueError, match=rf"solver='{solver}' needs all rows in memory; .*rows.sample"):
            NTKKernelRegressor(solver=solver).fit(rows)
    with pytest.raises(ValueError, match="kernel='precomputed' needs a matrix in memory"):
        NTKKernelRegressor(kernel="precomputed").fit(rows)
    with pytest.raises(ValueError, match="the target 'y' holds numbers with fractions; use a regressor"):
        NTKKernelClassifier().fit(rows)
    with pytest.raises(ValueError, match="groups: the first that is drawn has more than 150 rows"):
        NTKKernelRegressor().fit(parquet(table.assign(g=1), tmp_path, target="y", groups="g"))
    with pytest.raises(ValueError, match="one class, 'a', among the rows of positive weight"):
        NTKKernelClassifier().fit(parquet(table.assign(y="a"), tmp_path, target="y"))
    with pytest.raises(ValueError, match=r"the target 'y' has no label in row 0, and in 85 rows"):
        NTKKernelClassifier().fit(parquet(table.assign(y=["b", None] * 150)[1:], tmp_path, target="y"))


def test_kernels_work_in_blocks_of_any_size(rng, tmp_path, monkeypatch):
    rows = parquet(problem(rng), tmp_path, target="y")
    fit = NTKKernelRegressor(n_components=50, depth=1, alpha=1e-3, random_state=0)
    whole = fit.fit(rows).dual_coef_
    monkeypatch.setattr(_solvers, "BLOCK_ENTRIES", 50 * 7)
    np.testing.assert_allclose(fit.fit(rows).dual_coef_, whole, rtol=1e-6)


def test_nystroem_features_have_centres_among_the_rows(rng, tmp_path):
    table = problem(rng)
    rows = parquet(table, tmp_path, target="y")
    features = NTKNystroem(n_components=30, random_state=0).fit(rows)
    X = table[NAMES].to_numpy()
    assert all((centre == X).all(axis=1).any() for centre in features.components_)
    Z = features.transform(table[NAMES])
    K = features.kernel_(X[:5], features.components_)
    np.testing.assert_allclose(
        Z[:5] @ features.transform(pd.DataFrame(features.components_, columns=NAMES)).T, K, rtol=1e-6
    )
    # A linear fit of rows mapped to these features, in passes over the file
    model = SAGRegressor(alpha=1e-6).fit(rows.map(features.transform))
    assert model.score(Z, table["y"]) > 0.6
    assert not hasattr(features, "component_indices_")


def test_recursive_feature_machines_start_from_squared_residuals_of_a_sample(rng, tmp_path):
    X = rng.uniform(-1.7, 1.7, (1200, 40))
    table = pd.DataFrame(X, columns=[f"x{j}" for j in range(40)])
    table["y"] = (X[:, 0] * X[:, 1]) ** 3  # no column changes the mean, two change the size
    table[:600].to_parquet(tmp_path / "table.parquet", row_group_size=170, index=False)
    rows = scan(tmp_path / "table.parquet", target="y")
    model = RFMRegressor(n_components=200, random_state=0).fit(rows)
    assert set(model.cv_errors_) == {"full", "diagonal", "residual"}
    assert set(np.argsort(-model.feature_importances_)[:2]) == {0, 1}
    assert model.score(table.drop(columns="y")[600:], table["y"][600:]) > 0.9


@pytest.mark.parametrize("target", ["y", "k", "two"])
def test_recursive_feature_machines_sum_gradients_over_all_rows(rng, tmp_path, target):
    X = rng.standard_normal((3000, D))
    table = pd.DataFrame(X, columns=NAMES).assign(y=np.sin(2 * X[:, 0] + 2 * X[:, 1]), w=rng.integers(0, 3, 3000))
    table = table.assign(k=np.digitize(table["y"], [-0.5, 0.5]), two=table["y"] > 0)
    Model = RFMRegressor if target == "y" else RFMClassifier
    model = Model(n_components=80, random_state=0, max_rounds=2).fit(
        parquet(table, tmp_path, target=target, weight="w")
    )
    assert model.n_rounds_ > 0
    T, last = model.transformation_, model.estimator_
    unit = np.sqrt(np.average((table["y"] - np.average(table["y"], weights=table["w"])) ** 2, weights=table["w"]))
    coef = last.dual_coef_.reshape(80, -1) / (unit if target == "y" else 1.0)
    expected = T @ ntk_agop(X @ T, table["w"].to_numpy(float), last.X_fit_ @ T, coef, depth=1) @ T
    np.testing.assert_allclose(model.agop_, expected, rtol=1e-9, atol=1e-9 * np.trace(expected))
    np.testing.assert_allclose(model.feature_importances_, [0.5, 0.5, 0, 0], atol=0.05)
    if target != "y":
        np.testing.assert_allclose(model.predict_proba(table[NAMES]).sum(axis=1), 1)
    assert model.score(table[NAMES], table[target]) > (0.9 if target != "k" else 0.85)
