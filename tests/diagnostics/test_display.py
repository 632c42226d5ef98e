"""What is drawn is what the report and the path say."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.neural_network import MLPClassifier

from sklearn_ltdl import LazyNetRegressor, RegimeDisplay, ScalePathDisplay, regime_report, scale_path
from sklearn_ltdl.diagnostics import ScalePath, fit_rate
from sklearn_ltdl.diagnostics._regime import LAZY_GAP, RICH_GAP

plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


@pytest.fixture
def path():
    """Return the path of a network that obeys the theory from scale 1 on, and needs more steps below."""
    scales = np.logspace(-1, 2, 7)
    return ScalePath(
        scales=scales,
        scores=1 - 0.5 * scales / (1 + scales),
        losses=0.5 * scales / (1 + scales),
        train_losses=1e-3 * scales**0.1,
        displacements=np.minimum(0.3 / scales, 0.3) * [1, 1, 1, 1, 1.1, 1, 1],
        kernel_changes=np.minimum(0.5 / scales**2, 0.5),
        converged=np.array([False, True, False, True, True, True, True]),
        linearized_score=0.5,
        linearized_loss=0.45,
        alpha=1e-3,
        score="R2",
    )


@pytest.fixture(scope="module")
def classification():
    X, y = make_classification(160, n_features=6, n_informative=4, random_state=0)
    network = MLPClassifier((12,), solver="lbfgs", max_iter=10**4, random_state=0).fit(X[:80], y[:80])
    return network, X[80:], y[80:]


@pytest.fixture(scope="module")
def report(classification):
    return regime_report(*classification)


def texts(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def row_names(ax):
    return [label.get_text() for label in ax.get_yticklabels()]


def test_curves_are_the_columns_of_the_path(path):
    display = ScalePathDisplay(path).plot()
    losses, moves = display.axes_
    assert display.figure_ is losses.figure
    for name, ax in {"losses": losses, "train_losses": losses, "displacements": moves, "kernel_changes": moves}.items():
        curve = display.curves_[name]
        assert curve.axes is ax
        np.testing.assert_array_equal(curve.get_xdata(), path.scales)
        np.testing.assert_array_equal(curve.get_ydata(), getattr(path, name))
    assert set(display.limit_.get_ydata()) == {path.linearized_loss}
    assert display.limit_.axes is losses
    assert {losses.get_xscale(), losses.get_yscale(), moves.get_xscale(), moves.get_yscale()} == {"log"}


@pytest.mark.parametrize(("score", "loss"), [("R2", "mean squared error"), ("accuracy", "log loss")])
def test_the_loss_is_named(path, score, loss):
    assert ScalePathDisplay(replace(path, score=score)).plot().axes_[0].get_ylabel() == loss


def test_exponents_are_those_of_the_lazy_scales(path):
    display = ScalePathDisplay(path).plot()
    lazy = path.scales >= 3  # four of them
    words = " ".join(texts(display.axes_[1]))
    for name in ("displacements", "kernel_changes"):
        rate = fit_rate(path.scales[lazy], getattr(path, name)[lazy])
        assert display.rates_[name] == rate
        assert f"exponent {rate}" in words
        x, y = display.rate_lines_[name].get_data()
        np.testing.assert_allclose(y, rate.factor * x**rate.exponent)
    assert display.rates_["kernel_changes"].exponent == pytest.approx(-2)
    assert display.rates_["displacements"].standard_error > 0.01


@pytest.mark.parametrize(
    ("scales", "fitted"),
    [
        ([0.1, 0.3, 1, 3, 10, 30, 100], [3, 10, 30, 100]),
        ([0.01, 0.1, 1, 3, 10], [1, 3, 10]),  # the largest half, and at least three
        ([0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2], [0.2, 0.5, 1, 2]),
        ([1, 10], None),
    ],
)
def test_a_power_law_takes_at_least_three_of_the_largest_scales(scales, fitted):
    scales = np.array(scales, dtype=float)
    values = np.exp(-np.sqrt(scales))  # no power law: each choice of points has its own exponent
    path = ScalePath(scales, *[values] * 5, np.ones(len(scales), dtype=bool), 0.5, 0.5, 1e-3, "R2")
    display = ScalePathDisplay(path).plot()
    if fitted is None:
        assert display.rates_ == display.rate_lines_ == {}
        assert texts(display.axes_[1]) == ["displacement", "kernel change"]
    else:
        assert display.rates_["displacements"] == fit_rate(fitted, np.exp(-np.sqrt(fitted)))


def test_points_that_have_fallen_to_zero_have_no_power_law(path):
    changes = path.kernel_changes.copy()
    changes[-1] = 0
    display = ScalePathDisplay(replace(path, kernel_changes=changes)).plot()
    assert display.rates_["kernel_changes"] == fit_rate(path.scales[-4:-1], changes[-4:-1])
    changes = changes * (path.scales < 3)
    display = ScalePathDisplay(replace(path, kernel_changes=changes)).plot()
    assert [*display.rates_] == [*display.rate_lines_] == ["displacements"]


def test_a_training_that_did_not_converge_is_hollow(path):
    display = ScalePathDisplay(path).plot()
    for name, hollow in display.hollow_.items():
        np.testing.assert_array_equal(hollow.get_xdata(), path.scales[[0, 2]])
        np.testing.assert_array_equal(hollow.get_ydata(), getattr(path, name)[[0, 2]])
        assert hollow.get_markerfacecolor() == "white"
        assert hollow.get_color() == display.curves_[name].get_color()
        assert hollow.get_zorder() >= display.curves_[name].get_zorder()  # and drawn after it
    assert "not converged" in texts(display.axes_[0])
    assert "not converged" not in texts(ScalePathDisplay(replace(path, converged=path.scales > 0)).plot().axes_[0])


def test_a_path_is_that_of_the_estimator(rng):
    X = rng.standard_normal((60, 3))
    y, how = np.abs(X[:, 0]), {"X_test": X[40:], "y_test": np.abs(X[40:, 0]), "random_state": 1}
    network = LazyNetRegressor(width=8, max_iter=20, random_state=0)
    display = ScalePathDisplay.from_estimator(network, X[:40], y[:40], [0.1, 1, 10, 100], **how)
    path = scale_path(X[:40], y[:40], [0.1, 1, 10, 100], estimator=network, **how)
    assert not hasattr(network, "weights_")  # it was cloned
    np.testing.assert_array_equal(display.curves_["losses"].get_ydata(), path.losses)
    np.testing.assert_array_equal(display.curves_["displacements"].get_ydata(), path.displacements)


def test_changes_are_those_of_the_report(report):
    display = RegimeDisplay(report).plot()
    ax = display.axes_[0]
    assert [*display.changes_] == [
        "mean_gap",
        "linearization_gap",
        "prediction_gap",
        "displacement",
        "kernel_angle",
        "kernel_change",
        "kernel_misalignment",
        "activation_flips",
    ]
    for row, (name, marker) in enumerate(display.changes_.items()):
        assert marker.get_xydata().tolist() == [[report.diagnostics[name], row]]
        assert marker.get_marker() == "o"
        assert row_names(ax)[row] == f"{name.replace('_', ' ')}  {report.diagnostics[name]:.2g}"
    assert ax.get_xscale() == "log"
    assert ax.get_title() == f"Verdict: {report.verdict}"


def test_limits_are_drawn_at_the_row_on_which_the_verdict_rests(report):
    display = RegimeDisplay(report).plot()
    row = display.changes_["mean_gap"].get_ydata()[0]
    others = [marker.get_ydata()[0] for name, marker in display.changes_.items() if name != "mean_gap"]
    for line, limit in zip(display.limits_, (LAZY_GAP, RICH_GAP), strict=True):
        assert set(line.get_xdata()) == {limit}
        low, high = line.get_ydata()
        assert low < row < high
        assert not any(low < other < high for other in others)


def test_what_is_not_known_is_left_out(report):
    unknown = replace(report, diagnostics=report.diagnostics | {"activation_flips": None})
    display = RegimeDisplay(unknown).plot()
    assert "activation_flips" not in display.changes_
    assert not any(name.startswith("activation flips") for name in row_names(display.axes_[0]))
    rows = [marker.get_ydata()[0] for marker in display.changes_.values()]
    assert rows == [*range(7)]  # without a gap


def test_no_change_is_a_triangle_at_the_end_of_the_axis(report):
    diagnostics = report.diagnostics | {"activation_flips": 0.0, "kernel_angle": -2e-16, "displacement": 1e-4}
    display = RegimeDisplay(replace(report, diagnostics=diagnostics)).plot()
    end = display.axes_[0].get_xlim()[0]
    assert 0 < end < 1e-4
    for name in ("activation_flips", "kernel_angle"):
        assert display.changes_[name].get_xdata()[0] == end
        assert display.changes_[name].get_marker() == "<"
    assert display.changes_["displacement"].get_xdata()[0] == 1e-4
    assert "activation flips  0" in row_names(display.axes_[0])


def test_scores_are_those_of_the_report(report):
    display = RegimeDisplay(report).plot()
    ax = display.axes_[1]
    assert [*display.scores_] == ["score_network", "score_kernel_before", "score_kernel_after"]
    for row, (name, marker) in enumerate(display.scores_.items()):
        assert marker.get_xydata().tolist() == [[report.diagnostics[name], row]]
        assert row_names(ax)[row].endswith(f"  {report.diagnostics[name]:.3f}")
    assert ax.get_xlabel() == "accuracy (of ridge, leave-one-out)"
    low, high = ax.get_xlim()
    assert low < min(report.diagnostics[name] for name in display.scores_)
    assert max(report.diagnostics[name] for name in display.scores_) < high


def test_spectra_are_those_of_the_report(report):
    display = RegimeDisplay(report).plot()
    for line, spectrum in zip(display.spectra_, (report.spectrum_before, report.spectrum_after), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), np.arange(1, 7))
        np.testing.assert_array_equal(line.get_ydata(), spectrum)
    directions = [report.diagnostics[name] for name in ("directions_before", "directions_after")]
    for text, number in zip(texts(display.axes_[2]), directions, strict=True):
        assert text.endswith(f": {number:.3g} directions")


@pytest.mark.parametrize("d", [1, 2, 64])
def test_eigenvalues_that_are_rounding_are_not_drawn(report, d):
    spectrum = np.r_[np.full(d, 1 / d), np.full(3, 1e-17)]
    display = RegimeDisplay(replace(report, spectrum_before=spectrum, spectrum_after=0 * spectrum)).plot()
    before, after = display.spectra_
    np.testing.assert_array_equal(before.get_ydata(), spectrum[:d])
    assert len(after.get_xdata()) == 0  # a constant has no directions
    low, high = display.axes_[2].get_ylim()
    assert 1e-5 < low < 1 / d < high


@pytest.mark.parametrize("n_features", [2, 64])
def test_no_text_lies_on_another(n_features, report, rng):
    spectra = [np.sort(rng.dirichlet(np.ones(n_features)))[::-1] for _ in range(2)]
    display = RegimeDisplay(replace(report, spectrum_before=spectra[0], spectrum_after=spectra[1])).plot()
    display.figure_.draw_without_rendering()
    boxes = []
    for ax in display.axes_:
        ticks = [
            tick for tick in ax.get_xticklabels() if ax.get_xlim()[0] <= tick.get_position()[0] <= ax.get_xlim()[1]
        ]
        parts = [*ticks, *ax.get_yticklabels(), *ax.texts, ax.title, ax.xaxis.label, ax.yaxis.label, ax.get_legend()]
        boxes += [part.get_window_extent() for part in parts if part is not None]
    boxes = [box for box in boxes if box.width > 0 and box.height > 0]
    assert not any(one.overlaps(two) for i, one in enumerate(boxes) for two in boxes[:i])
    legend = display.axes_[2].get_legend().get_window_extent()
    points = [line.axes.transData.transform(line.get_xydata()) for line in display.spectra_]
    assert not any(legend.contains(*point) for point in np.concatenate(points))


def test_a_report_is_that_of_the_estimator(classification):
    network, X, y = classification
    coefs = [np.zeros_like(coef) + 0.1 for coef in network.coefs_]
    how = {"before": (coefs, network.intercepts_), "max_rows": 50, "random_state": 1}
    display, report = RegimeDisplay.from_estimator(network, X, y, **how), regime_report(network, X, y, **how)
    assert display.report.diagnostics == report.diagnostics


def test_a_function_of_jax_is_drawn_without_flips(rng):
    jnp = pytest.importorskip("jax.numpy")

    def apply_fn(parameters, X):
        return jnp.tanh(X @ parameters["hidden"]) @ parameters["readout"]

    X = rng.standard_normal((40, 3))
    before = {"hidden": rng.standard_normal((3, 5)), "readout": rng.standard_normal(5)}
    after = {"hidden": before["hidden"] + 0.01, "readout": before["readout"] + 0.1}
    display = RegimeDisplay.from_estimator(apply_fn, X, X[:, 0], before=before, after=after)
    assert "linearization_gap" in display.changes_
    assert "activation_flips" not in display.changes_


def test_axes_that_are_given_are_used(path, report):
    pair = plt.subplots(2)[1]
    assert ScalePathDisplay(path).plot(axes=pair).axes_.tolist() == pair.tolist()
    figure, axes = plt.subplots(1, 3)
    plt.figure()
    display = RegimeDisplay(report).plot(axes=list(axes))
    assert display.axes_.tolist() == axes.tolist()
    assert display.figure_ is figure
    assert display.changes_["displacement"].axes is axes[0]
    assert display.scores_["score_network"].axes is axes[1]
    assert display.spectra_[0].axes is axes[2]


def test_another_number_of_axes_is_refused(path, report):
    axes = plt.subplots(2, 2)[1]
    with pytest.raises(ValueError, match="axes must be 2 matplotlib Axes, for the losses and what moved; got 4"):
        ScalePathDisplay(path).plot(axes=axes)
    with pytest.raises(ValueError, match="for the changes, the scores and the spectra; got 1"):
        RegimeDisplay(report).plot(axes=axes[0, 0])
