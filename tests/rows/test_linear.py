"""Linear fits of rows that are read block by block are those in memory, and as certain of it."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from sklearn_ltdl import SAGClassifier, SAGRegressor, duality_gap, scan
from sklearn_ltdl.linear import _streamed
from sklearn_ltdl.linear._problem import FiniteSum
from sklearn_ltdl.linear._solvers import SOLVERS
from sklearn_ltdl.losses import LOSSES, Huber
from sklearn_ltdl.rows._blocks import Block
from sklearn_ltdl.rows._looks import LabelTarget

NAMES = list("abcd")


def parquet(table, folder, **how):
    table.to_parquet(folder / "table.parquet", row_group_size=170 if len(table) < 5000 else 10_000, index=False)
    return scan(folder / "table.parquet", columns=NAMES, **how)


@pytest.fixture
def table(rng):
    X = rng.standard_normal((2000, 4))
    X[:, 3] += 1e4
    score = X @ [2.0, 1.0, 0.0, 1.0] - 1e4
    return pd.DataFrame(X, columns=NAMES).assign(
        y=score + 0.3 * rng.standard_t(2, 2000),
        z=np.tanh(X[:, 1]) - 7,
        two=score + rng.logistic(size=2000) > 1,
        three=np.digitize(score + rng.logistic(size=2000), [-1.0, 2.0]),
        share=rng.uniform(size=2000),
        w=rng.integers(0, 3, 2000),
    )


CASES = {
    "squares": (SAGRegressor(), "y"),
    "several outputs": (SAGRegressor(), ["y", "z"]),
    "no intercept": (SAGRegressor(fit_intercept=False), "y"),
    "no penalty": (SAGRegressor(alpha=0.0), "y"),
    "huber": (SAGRegressor(loss=Huber(0.5)), "y"),
    "huber, two outputs": (SAGRegressor(loss="huber"), ["y", "z"]),
    "logistic": (SAGClassifier(), "two"),
    "logistic, no intercept": (SAGClassifier(fit_intercept=False), "two"),
    "multinomial": (SAGClassifier(), "three"),
    "multinomial of two": (SAGClassifier(loss="multinomial"), "two"),
    "multinomial, no intercept": (SAGClassifier(fit_intercept=False), "three"),
    "smooth hinge": (SAGClassifier(loss="smooth_hinge"), "three"),
    "squared hinge": (SAGClassifier(loss="squared_hinge"), "two"),
    "balanced": (SAGClassifier(class_weight="balanced"), "three"),
    "factors": (SAGClassifier(class_weight={0: 2.0, 1: 0.5}), "three"),
}


@pytest.mark.parametrize("weight", [None, "w"])
@pytest.mark.parametrize("case", CASES)
def test_the_fit_is_that_in_memory(table, tmp_path, monkeypatch, case, weight):
    monkeypatch.setattr(_streamed, "SAMPLE", 300)  # so that the sample's solution is not that of all rows
    model, target = CASES[case]
    model = clone(model).set_params(tol=1e-12)
    streamed = clone(model).fit(parquet(table, tmp_path, target=target, weight=weight))
    weights = None if weight is None else table["w"]
    memory = model.fit(table[NAMES], table[target], weights)
    size = np.abs(memory.coef_).max()
    # A gap of 1e-12 of the objective's range leaves 1e-6 of the coefficients' size, by strong convexity.
    np.testing.assert_allclose(streamed.coef_, memory.coef_, rtol=0, atol=3e-6 * size)
    centre = table[NAMES].mean().to_numpy()  # the intercept itself is that at a distance of 1e4
    at_centre = [np.asarray(fit.intercept_) + fit.coef_ @ centre for fit in (streamed, memory)]
    np.testing.assert_allclose(*at_centre, rtol=0, atol=1e-5 * (size + 1))
    assert np.shape(streamed.coef_) == np.shape(memory.coef_)
    assert np.shape(streamed.intercept_) == np.shape(memory.intercept_)
    if model.alpha > 0:
        true_gap = duality_gap(streamed, table[NAMES], table[target], weights)
        # The intercept is rounded by 1e-12, as the last column is 1e4 away from zero, and the mean slope with it.
        assert true_gap <= 2 * streamed.dual_gap_ + 1e-12 * table["y"].var()
    assert not hasattr(streamed, "dual_coef_")
    assert streamed.n_iter_ == len(streamed.trace_.gap)


@pytest.mark.parametrize("case", ["huber", "logistic", "multinomial", "smooth hinge"])
def test_every_gap_on_the_way_is_a_bound(table, tmp_path, monkeypatch, case):
    monkeypatch.setattr(_streamed, "SAMPLE", 60)
    model, target = CASES[case]
    model = clone(model).set_params(tol=1e-13).fit(parquet(table, tmp_path, target=target))
    primal, gap = model.trace_.primal, model.trace_.gap
    assert len(gap) >= 3
    assert (primal - gap <= primal.min() + 1e-12).all()  # the dual is below the minimum
    assert (gap >= 0).all()
    assert gap[-1] <= 1e-12


def test_squares_take_one_pass_and_logistic_three(rng, tmp_path):
    X = rng.standard_normal((55_000, 4))
    table = pd.DataFrame(X, columns=NAMES).assign(y=X @ [1.0, 2, 3, 4], two=X[:, 0] + rng.logistic(size=55_000) > 0)
    assert SAGRegressor().fit(parquet(table, tmp_path, target="y")).n_iter_ == 1
    model = SAGClassifier(tol=1e-8).fit(parquet(table, tmp_path, target="two"))
    assert model.n_iter_ <= 3
    again = SAGClassifier(tol=1e-8, random_state=5).fit(scan(tmp_path / "table.parquet", target="two", columns=NAMES))
    np.testing.assert_array_equal(again.coef_, model.coef_)  # nothing is left to chance
    assert model.dual_gap_ <= 1e-8
    assert model.solver_ == "newton"
    assert "block by block" in model.solver_reason_


def test_a_class_that_the_sample_lacks_is_fitted(rng, tmp_path, monkeypatch):
    monkeypatch.setattr(_streamed, "SAMPLE", 30)
    X = rng.standard_normal((2000, 4))
    label = np.where(X[:, 0] > 0, "a", "b").astype(object)
    table = pd.DataFrame(X, columns=NAMES)
    drawn = parquet(table.assign(k=np.arange(2000)), tmp_path, target="k").sample(30)[1]
    label[rng.permutation(np.setdiff1d(np.arange(2000), drawn))[:15]] = "rare"
    table = table.assign(k=label)
    rows = parquet(table, tmp_path, target="k")
    assert "rare" not in rows.sample(30)[1]
    model = SAGClassifier(tol=1e-10).fit(rows)
    memory = SAGClassifier(tol=1e-10).fit(X, label)
    np.testing.assert_allclose(model.coef_, memory.coef_, atol=1e-5)
    assert model.dual_gap_ < 1e-9
    table = table.assign(k=np.where(label == "rare", "rare", "a"))
    for n in (5, 10, 20, 40):  # of two classes, too, in samples that have one
        monkeypatch.setattr(_streamed, "SAMPLE", n)
        model = SAGClassifier().fit(parquet(table, tmp_path, target="k"))
        assert model.dual_gap_ < 1e-6


def test_what_is_not_done_block_by_block_is_refused(table, tmp_path):
    rows = parquet(table, tmp_path, target="y")
    for parameters, message in (
        ({"l1_ratio": 0.5}, r"l1_ratio=0.5 needs all rows in memory; for Rows take l1_ratio=0, or give \*rows.sample"),
        ({"solver": "sag"}, "solver='sag' needs all rows in memory; for Rows take solver='auto'"),
        ({"loss": "huber", "solver": "cholesky"}, "solver='cholesky' needs all rows"),
        ({"loss": "huber", "alpha": 0.0}, "alpha=0 has no certificate"),
        ({"warm_start": True}, "warm_start and step_size are for arrays"),
    ):
        with pytest.raises(ValueError, match=message):
            SAGRegressor(**parameters).fit(rows)
    with pytest.raises(ValueError, match="rows of positive weight, got none"):
        SAGRegressor().fit(parquet(table.assign(w=0), tmp_path, target="y", weight="w"))
    with pytest.raises(ValueError, match="of weight 0; a classifier of Rows needs"):
        SAGClassifier().fit(parquet(table.assign(w=table["two"] * 1), tmp_path, target="two", weight="w"))


def test_dask_arrays_are_read_block_by_block(table):
    da = pytest.importorskip("dask.array", reason="needs the extra dask")
    read = []

    def remember(X):
        read.append(len(X))
        return X

    X = da.from_array(table[NAMES].to_numpy(), chunks=(500, 4)).map_blocks(remember, dtype=float, meta=np.empty((0, 0)))
    y = da.from_array(table["two"].to_numpy(), chunks=250)
    model = SAGClassifier(tol=1e-10).fit(X, y)
    np.testing.assert_allclose(model.coef_, SAGClassifier().fit(table[NAMES], table["two"]).coef_, rtol=1e-6)
    assert max(read) == 500
    with pytest.raises(ValueError, match="y is None; give y as a Dask collection"):
        SAGClassifier().fit(X)


def test_all_losses_of_the_registry_can_be_streamed(table, tmp_path):
    for name, loss in LOSSES.items():
        Model = SAGClassifier if loss.of_labels else SAGRegressor
        target = "two" if loss.of_labels else "y"
        assert Model(loss=name).fit(parquet(table, tmp_path, target=target)).dual_gap_ < 1e-4


@pytest.mark.parametrize("loss", ["logistic", "huber", "smooth_hinge", "squared_hinge", "multinomial"])
def test_the_gap_is_that_of_dual_variables_of_mean_zero(rng, loss):
    """At any point, the gap is at least that of its balanced dual variables, written out, and these are a bound."""
    loss, n, alpha = LOSSES.resolve(loss), 400, 0.1
    X = rng.standard_normal((n, 4))
    codes = rng.integers(0, 3 if loss.coupled else 2, n)
    Y = np.eye(3)[codes] if loss.coupled else codes[:, None] + (0.0 if loss.of_labels else rng.standard_normal((n, 1)))
    share, K = rng.uniform(size=n), Y.shape[1]
    share /= share.sum()
    labels = LabelTarget(np.arange(K if K > 1 else 2)) if loss.of_labels else None
    block = Block(X, codes if loss.of_labels else Y[:, 0], share, None, 0, 0, "here")
    problem = FiniteSum(X, Y, loss, alpha, share)
    least = problem.at(SOLVERS["newton"](problem, tol=1e-12).coef).objective
    for size in (0.0, 1e-3, 0.1, 1.0):
        coef, intercept = rng.standard_normal((K, 4)), size * rng.standard_normal(K)
        at = _streamed.Position(loss, labels, None, 1.0, np.zeros(4), coef, intercept)
        found = _streamed.Evaluated(at, _streamed.newton_sums(block, at), alpha, True)
        margins = X @ coef.T + intercept
        raw = loss.derivative(margins, Y)
        if loss.coupled:
            P, mean, excess = raw + Y, share @ (raw + Y), share @ raw
            t = max(0.0, (excess / mean).max())
            dual = (1 - t) * P + (share @ Y - (1 - t) * mean) - Y
        else:
            up, down = share @ np.maximum(raw, 0), share @ np.maximum(-raw, 0)
            dual = raw * np.minimum(up, down) / np.where(raw > 0, up, down)
        np.testing.assert_allclose(share @ dual, 0, atol=1e-15)
        rows = share @ np.reshape(loss.fenchel_young(margins, dual, Y), (n, -1))
        exact = rows.sum() + problem.penalty_gap(coef, problem.transposed(share[:, None] * dual))
        assert found.objective == pytest.approx(problem.at(coef, intercept, best=False).objective, rel=1e-12)
        assert found.objective - least <= exact * (1 + 1e-9)
        assert exact <= found.gap * (1 + 1e-9)
