"""Trajectories of particles are those of training: clones that stop earlier were where the network passed."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ltdl import MeanFieldTwoLayerNet, MeanFieldTwoLayerNetClassifier, ParticleFlowDisplay

plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


@pytest.fixture
def table(rng):
    X = rng.standard_normal((20, 3))
    return X, np.abs(X[:, 0]) + X[:, 1]


def network(**changes):
    return MeanFieldTwoLayerNet(**{"width": 8, "alpha": 0.01, "max_iter": 60, "tol": 0.0, "random_state": 3} | changes)


def segments(lines, n_times):
    """Return the trajectories of a LineCollection, of shape (n_particles, n_times, 2)."""
    return np.array(lines.get_segments()).reshape(-1, n_times, 2)


def fitted(net, X, y, **how):
    """Return the network after all its steps, which did not settle it."""
    with pytest.warns(ConvergenceWarning, match="Stopped at max_iter"):
        return net.fit(X, y, **how)


def test_trajectories_are_those_of_training(table):
    net = network()
    display = ParticleFlowDisplay.from_estimator(net, *table, n_snapshots=7)
    assert not hasattr(net, "particles_")  # it was cloned
    trained = fitted(net, *table)
    np.testing.assert_array_equal(display.particles[0], trained.particles_init_)
    np.testing.assert_array_equal(display.particles[-1], trained.particles_)
    np.testing.assert_array_equal(display.measure.masses, trained.measure_.masses)
    assert display.n_iters[0] == 0
    assert display.n_iters[-1] == trained.n_iter_ == 60
    ratios = display.n_iters[2:] / display.n_iters[1:-1]
    assert ratios.max() < 60 ** (1 / 6) + 0.5  # geometric, up to rounding to integers
    halfway = fitted(network(max_iter=int(display.n_iters[4])), *table)
    np.testing.assert_array_equal(display.particles[4], halfway.particles_)


def test_a_network_that_settles_is_followed_to_its_last_step(table):
    trained = network(max_iter=10**6, tol=0.01).fit(*table)
    display = ParticleFlowDisplay.from_estimator(trained, *table, n_snapshots=3)
    assert display.n_iters[-1] == trained.n_iter_ < 10**6
    np.testing.assert_array_equal(display.particles[-1], trained.particles_)


@pytest.mark.filterwarnings("ignore:Stopped at max_iter")
@pytest.mark.parametrize(
    "changes",
    [{"solver": "adam", "batch_size": 16}, {"temperature": 1e-3, "activation": "tanh"}, {"early_stopping": True}],
    ids=["batches", "noise", "held-out rows"],
)
def test_chance_is_the_same_in_all_clones(table, changes):
    net = network(**changes)
    display = ParticleFlowDisplay.from_estimator(net, *table, n_snapshots=4)
    for k, particles in zip(display.n_iters[1:], display.particles[1:]):
        np.testing.assert_array_equal(particles, clone(net).set_params(max_iter=int(k)).fit(*table).particles_)


def test_without_a_seed_one_is_drawn(table):
    display = ParticleFlowDisplay.from_estimator(network(random_state=None), *table, n_snapshots=9)
    jumps = np.linalg.norm(np.diff(display.particles, axis=0), axis=(1, 2))
    start = np.linalg.norm(display.particles[0])
    assert jumps.max() < start  # seeds of their own would put sqrt(2) of it between any two


def test_particles_are_drawn_at_read_out_times_hidden_weights(table):
    display = ParticleFlowDisplay.from_estimator(network(), *table, features=(3, 1), n_snapshots=4)
    n_times = len(display.n_iters)
    hidden, readout = display.particles[:, :, [3, 1]], display.particles[:, :, 4:]
    ways = (readout * hidden).swapaxes(0, 1)
    positive = readout[-1, :, 0] > 0
    assert 0 < positive.sum() < 8
    for some, lines, starts, ends in zip((positive, ~positive), display.lines_, display.starts_, display.ends_):
        np.testing.assert_allclose(segments(lines, n_times), ways[some])
        np.testing.assert_allclose(starts.get_offsets(), ways[some, 0])
        np.testing.assert_allclose(ends.get_offsets(), ways[some, -1])
    assert display.ax_.get_xlabel() == "read-out times the weight of the constant"
    assert display.ax_.get_ylabel() == "… of x1"


def test_signs_are_told_apart_by_colour_and_by_marker(table):
    positive, negative = ParticleFlowDisplay.from_estimator(network(), *table, n_snapshots=2).ends_
    assert not np.array_equal(positive.get_facecolor(), negative.get_facecolor())
    assert not np.array_equal(positive.get_paths()[0].vertices, negative.get_paths()[0].vertices)


def test_areas_of_atoms_are_masses_and_their_places_directions(rng):
    x = np.linspace(-2, 2, 30)[:, None]
    display = ParticleFlowDisplay.from_estimator(network(tol=1e-3, max_iter=1000), x, np.abs(x[:, 0]), n_snapshots=2)
    masses = display.measure.masses[:, 0]
    for some, sign, drawn in zip((masses > 0, masses < 0), (1, -1), display.atoms_):
        np.testing.assert_allclose(drawn.get_sizes() / 500, np.abs(masses[some]) / np.abs(masses).max())
        places = np.asarray(drawn.get_offsets())
        radius = np.linalg.norm(places, axis=1)  # one feature: directions are on the circle
        np.testing.assert_allclose(places, sign * radius[:, None] * display.measure.atoms[some])
        np.testing.assert_allclose(radius, radius[0])


@pytest.mark.filterwarnings("ignore:Stopped at max_iter")
def test_atoms_that_are_not_on_the_sphere_are_the_ends(table):
    display = ParticleFlowDisplay.from_estimator(network(activation="tanh"), *table, n_snapshots=2)
    for atoms, ends in zip(display.atoms_, display.ends_):
        places, where = (np.asarray(points.get_offsets()) for points in (atoms, ends))
        np.testing.assert_allclose(np.sort(places, axis=0), np.sort(where, axis=0))  # the atoms are heaviest first


def test_a_pipeline_transforms_first_and_gives_its_names(table):
    pd = pytest.importorskip("pandas")
    X, y = table
    frame = pd.DataFrame(X * [1.0, 10.0, 100.0], columns=["size", "age", "price"])
    pipeline = make_pipeline(StandardScaler(), network())
    _, ax = plt.subplots()
    display = ParticleFlowDisplay.from_estimator(pipeline, frame, y, features=(2, 0), n_snapshots=2, ax=ax)
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
    trained = fitted(pipeline, frame, y)[-1]
    np.testing.assert_array_equal(display.particles[-1], trained.particles_)
    assert ax.get_xlabel() == "read-out times the weight of price"
    assert ax.get_ylabel() == "… of size"
    alone = ParticleFlowDisplay.from_estimator(make_pipeline(network()), StandardScaler().fit_transform(frame), y)
    np.testing.assert_array_equal(alone.particles[-1], trained.particles_)


def test_weights_are_those_of_the_network(table):
    X, y = table
    weight = np.repeat([1.0, 3.0], 10)
    display = ParticleFlowDisplay.from_estimator(network(), X, y, sample_weight=weight, n_snapshots=2)
    np.testing.assert_array_equal(display.particles[-1], fitted(network(), X, y, sample_weight=weight).particles_)


def test_of_several_classes_the_first_score_is_drawn(rng):
    X = rng.standard_normal((30, 2))
    y = np.arange(30) % 3
    net = MeanFieldTwoLayerNetClassifier(width=6, alpha=0.01, max_iter=20, random_state=0)
    display = ParticleFlowDisplay.from_estimator(net, X, y, n_snapshots=2)
    assert display.particles.shape == (3, 6, 2 + 1 + 3)
    first = display.particles[-1, :, 3] * display.particles[-1, :, 0]
    drawn = np.vstack([ends.get_offsets() for ends in display.ends_])[:, 0]
    np.testing.assert_allclose(np.sort(drawn), np.sort(first))


def test_callbacks_hear_of_one_training(table):
    pytest.importorskip("sklearn.callback", reason="scikit-learn 1.9")

    class Count:
        ends = 0

        def setup(self, estimator, context):
            pass

        def teardown(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context):
            Count.ends += context.task_name == "fit"

    ParticleFlowDisplay.from_estimator(network().set_callbacks(Count()), *table, n_snapshots=5)
    assert Count.ends == 1


def test_what_cannot_be_drawn_is_named(table):
    def draw(estimator, **how):
        ParticleFlowDisplay.from_estimator(estimator, *table, **how)

    with pytest.raises(ValueError, match="estimator is a Ridge; trajectories need a MeanFieldTwoLayerNet"):
        draw(Ridge())
    with pytest.raises(ValueError, match="estimator is a Ridge"):
        draw(make_pipeline(StandardScaler(), Ridge()))
    with pytest.raises(ValueError, match="solver='frank_wolfe' adds neurons in their final places"):
        draw(network(solver="frank_wolfe"))
    for features in [(0, 4), (-1, 0), (1, 1), (0, 1, 2), 0, (0.0, 1.0)]:
        with pytest.raises(ValueError, match="features must be two different integers from 0 to 3"):
            draw(network(), features=features)
    for n_snapshots in (1, 2.5):
        with pytest.raises(ValueError, match=f"n_snapshots must be an integer, at least 2; got {n_snapshots}"):
            draw(network(), n_snapshots=n_snapshots)
