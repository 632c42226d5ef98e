"""Modules of PyTorch: kernels against plain gradients, closed forms, and the caller's module left as it was."""

import copy
import importlib.util
import random
import subprocess
import sys

import numpy as np
import pytest

if importlib.util.find_spec("torch") is None:
    pytest.skip("PyTorch is not installed: pip install torch==2.13.0", allow_module_level=True)

import torch
from torch import nn
from torch.nn import functional as F

from sklearn_ltdl import explain_as_kernel, regime_report
from sklearn_ltdl.diagnostics._trained import trained_network
from sklearn_ltdl.torch import KeepFirstWeights, TorchNetwork


class Flattened(nn.Module):
    """Parts in a row, and the first axes of what comes out joined."""

    def __init__(self, *parts):
        super().__init__()
        self.parts = nn.Sequential(*parts)

    def forward(self, rows):
        return self.parts(rows).flatten(1)


class Borrowed(nn.Module):
    """Reads a layer once through its module and once through its weight."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(4, 4)
        self.b = nn.Linear(4, 2)

    def forward(self, rows):
        return self.b(torch.tanh(F.linear(torch.tanh(self.a(rows)), self.a.weight)))


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(4, 4)
        self.b = nn.Linear(4, 2)

    def forward(self, rows):
        return self.b(torch.tanh(self.a(torch.tanh(self.a(rows)))))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 7, bias=False)  # whose name the shared weight has
        self.embedding = nn.Embedding(7, 4)
        self.embedding.weight = self.head.weight

    def forward(self, rows):
        return self.head(torch.tanh(self.embedding(rows).sum(1)))


class InPlace(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(4, 6)
        self.b = nn.Linear(6, 6)
        self.c = nn.Linear(6, 2)

    def forward(self, rows):
        below = F.relu(self.a(rows), inplace=True)
        above = self.b(below)
        above += below
        return self.c(F.relu(above, inplace=True))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(3, 4, batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, rows):
        return self.head(self.lstm(rows)[0][:, -1])


class Squeezing(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(4, 5)
        self.b = nn.Linear(5, 1)

    def forward(self, rows):
        return self.b(torch.tanh(self.a(rows))).squeeze()


class Activated(nn.BatchNorm1d):
    """Batch normalisation that does more, as some of timm's."""

    def forward(self, rows):
        return torch.tanh(super().forward(rows))


class Attending(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.1, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, rows):
        return self.head(self.encoder(rows).mean(1))


def mlp():
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 6), nn.GELU(), nn.Linear(6, 2))


MODULES = {
    "mlp": (mlp, (4,), 2),
    "convolutions": (
        lambda: Flattened(
            nn.Conv2d(2, 3, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(3, 5, 2, stride=2, dilation=2),
            nn.Flatten(),
            nn.Linear(20, 2),
        ),
        (2, 6, 6),
        2,
    ),
    "a late convolution": (
        lambda: Flattened(nn.Conv2d(8, 40, 2), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(40, 2)),
        (8, 3, 2),
        2,
    ),
    "grouped and reflecting": (
        lambda: Flattened(
            nn.Conv2d(2, 4, 3, groups=2),
            nn.Tanh(),
            nn.Conv2d(4, 2, 3, padding=1, padding_mode="reflect"),
            nn.Flatten(),
            nn.Linear(32, 2),
        ),
        (2, 6, 6),
        2,
    ),
    "one axis": (
        lambda: Flattened(
            nn.Conv1d(3, 4, 3, stride=2, dilation=2, padding=3),
            nn.Tanh(),
            nn.Conv1d(4, 6, 2, padding="same", groups=2, padding_mode="circular"),
            nn.Flatten(),
            nn.Linear(24, 2),
        ),
        (3, 6),
        2,
    ),
    "three axes": (
        lambda: Flattened(
            nn.Conv3d(2, 3, (2, 1, 3), padding=(1, 0, 2)),
            nn.Tanh(),
            nn.Conv3d(3, 3, 2, groups=3, padding="valid", bias=False),
            nn.Flatten(),
            nn.Linear(3 * 3 * 2 * 4, 2),
        ),
        (2, 3, 3, 3),
        2,
    ),
    "normalisations": (
        lambda: Flattened(
            nn.Conv2d(2, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.GroupNorm(2, 4),
            nn.Flatten(),
            nn.Linear(16, 5),
            nn.LayerNorm(5),
            nn.Linear(5, 2),
        ),
        (2, 4, 4),
        2,
    ),
    "sequences": (lambda: Flattened(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)), (5, 3), 5),
    "borrowed": (Borrowed, (4,), 2),
    "twice": (Twice, (4,), 2),
    "in place": (InPlace, (4,), 2),
    "recurrent": (Recurrent, (5, 3), 2),
    "squeezing": (Squeezing, (4,), 1),
    "attending": (Attending, (5, 4), 3),
    "weight norm": (
        lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 6)), nn.Tanh(), nn.Linear(6, 2)),
        (4,),
        2,
    ),
    "tied": (Tied, None, 7),
}


def made(name, n=12, seed=0):
    """Return a module, weights of a start, rows and targets."""
    build, shape, n_outputs = MODULES[name]
    torch.manual_seed(seed)
    module = build()
    first = copy.deepcopy(module.state_dict())
    with torch.no_grad():
        for value in module.parameters():
            value += 0.1 * torch.randn_like(value)
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, *shape)) if shape else rng.integers(7, size=(n, 3))
    return module, first, X, rng.standard_normal((n, n_outputs))


@pytest.fixture(params=MODULES)
def adapted(request):
    """Return a module, and its function, weights and packed rows."""
    module, first, X, y = made(request.param)
    trained, rows, _, _ = trained_network(TorchNetwork(module, first, batch_norm="after"), X, y)
    return module, trained, rows, X


def test_the_kernel_is_that_of_the_tangent(adapted):
    _, trained, rows, _ = adapted
    function, n = trained.function, 5
    K = function.kernel(trained.after, rows)
    state = function._state(trained.after)
    expected = np.zeros((n, n))
    for k in range(trained.n_outputs):
        direction = np.eye(trained.n_outputs)[k]
        slopes = function._gradients(state, rows[:n], direction, tuple(function.shapes))
        order = [name for names in function.layers for name in names]
        assert order == list(function.shapes)
        for j in range(n):
            parts = np.split(slopes[j].numpy(), np.cumsum([layer.size for layer in trained.after])[:-1])
            expected[:, j] += function.tangent(trained.after, tuple(parts), rows[:n])[:, k] / trained.n_outputs
    np.testing.assert_allclose(K[:n, :n], expected, rtol=0, atol=1e-10 * np.abs(K).max())
    np.testing.assert_allclose(
        function.kernel(trained.after, rows[:4], rows[3:]), K[:4, 3:], rtol=0, atol=1e-12 * np.abs(K).max()
    )


def test_outputs_are_those_of_the_module(adapted):
    module, trained, rows, X = adapted
    double = copy.deepcopy(module).double().eval()
    with torch.no_grad():
        expected = double(torch.as_tensor(X)).reshape(len(X), -1)
    np.testing.assert_allclose(trained.function.outputs(trained.after, rows), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "structured"),
    [
        ("mlp", True),
        ("one axis", True),
        ("three axes", True),
        ("grouped and reflecting", True),
        ("in place", True),
        ("twice", True),
        ("tied", True),
        ("borrowed", False),
    ],
)
def test_a_weight_that_the_layers_do_not_show_is_noticed(name, structured):
    module, first, X, y = made(name)
    _, _, _, notes = trained_network(module, X, y, before=first)
    assert any("plain gradients" in note for note in notes) != structured


def test_a_linear_module_is_lazy_with_a_kernel_in_closed_form(rng):
    X = rng.standard_normal((30, 4))
    y = X @ rng.standard_normal(4)
    module = nn.Linear(4, 1)
    first = copy.deepcopy(module.state_dict())
    with torch.no_grad():
        module.weight += 3.0
    report = regime_report(module, X, y, before=first)
    assert report.verdict == "lazy"
    assert report.diagnostics["linearization_gap"] < 1e-12
    trained, rows, _, _ = trained_network(module, X, y, before=first)
    for weights in (trained.before, trained.after):
        np.testing.assert_allclose(trained.function.kernel(weights, rows), X @ X.T + 1, rtol=1e-12)


def test_statistics_are_those_of_the_reference_at_each_state():
    module, first, X, y = made("normalisations", n=20)
    trained, rows, _, _ = trained_network(module, X, y, before=first)
    for weights, state in ((trained.before, first), (trained.after, module.state_dict())):
        double = copy.deepcopy(module).double()
        double.load_state_dict(state)
        norm = double.parts[1]
        norm.momentum = 1.0
        with torch.no_grad():
            double.train()(torch.as_tensor(X))
            expected = double.eval()(torch.as_tensor(X))
        np.testing.assert_allclose(trained.function.outputs(weights, rows), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("transposing", [False, True], ids=["forward mode", "two in reverse mode"])
def test_the_tangent_moves_the_statistics_with_the_weights(transposing, rng, monkeypatch):
    """Training differentiates them: a linear model that holds them is off by the size of what it tells."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.BatchNorm2d(2),
        nn.Conv2d(2, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 4, 2),
        nn.BatchNorm2d(4, affine=False),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(4, 3),
        Activated(3),
    )
    first = copy.deepcopy(module.state_dict())
    with torch.no_grad():
        for value in module.parameters():
            value += 0.1 * torch.randn_like(value)
    trained, rows, _, _ = trained_network(
        module, rng.standard_normal((30, 2, 4, 4)), rng.standard_normal((30, 3)), before=first
    )
    function, start, move, step = trained.function, trained.before, trained.move, 1e-5
    if transposing:

        def refuse(*_):
            raise NotImplementedError

        monkeypatch.setattr(torch.func, "jvp", refuse)
    up, down = (
        function.outputs(tuple(layer + sign * step * change for layer, change in zip(start, move)), rows)
        for sign in (1, -1)
    )
    slopes = function.tangent(start, move, rows)
    np.testing.assert_allclose(slopes, (up - down) / (2 * step), atol=1e-7 * np.abs(slopes).max())  # O(step^2)
    assert np.abs(function._tangent(start, function._tensors(move), rows) - slopes).max() > 0.1 * np.abs(slopes).max()


def test_a_network_with_batch_normalisation_is_lazy_where_it_hardly_moved(rng):
    """Chizat, Oyallon and Bach (2019): the linear model misses a share that falls as the way of the weights."""
    module, _, X, y = made("normalisations", n=30)
    module, gaps = module.double(), []
    first = copy.deepcopy(module.state_dict())
    moves = {name: torch.randn_like(value) for name, value in module.named_parameters()}
    for size in (1e-3, 1e-4):
        with torch.no_grad():
            for name, value in module.named_parameters():
                value.copy_(first[name] + size * moves[name])
        gaps.append(regime_report(module, X, y, before=first).diagnostics["linearization_gap"])
    assert gaps[0] < 0.2
    assert gaps[1] < 0.2 * gaps[0]


def snapshot(module):
    """Return what a caller may have set: of the module, of PyTorch, and of the generators of random numbers."""
    parts, values = list(module.modules()), [*module.parameters(), *module.buffers()]
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_state_dict_hooks")
    backends = torch.backends
    return {
        "state": {name: (value.tolist(), value.dtype, value.device) for name, value in module.state_dict().items()},
        "identity": [
            (id(value), value.data_ptr(), value._version, value.requires_grad, value.grad) for value in values
        ],
        "modes": [part.training for part in parts],
        "momentum": [getattr(part, "momentum", None) for part in parts],
        "hooks": [(name, list(getattr(part, name))) for part in parts for name in hooks],
        "generators": (torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate()),  # noqa: NPY002
        "attention": (
            backends.mha.get_fastpath_enabled(),
            backends.cuda.flash_sdp_enabled(),
            backends.cuda.math_sdp_enabled(),
            backends.cuda.mem_efficient_sdp_enabled(),
        ),
        "switches": (
            torch.is_grad_enabled(),
            torch.get_default_dtype(),
            torch.get_num_threads(),
            torch.are_deterministic_algorithms_enabled(),
        ),
    }


@pytest.mark.parametrize("report", [regime_report, explain_as_kernel])
@pytest.mark.parametrize("name", ["normalisations", "attending", "recurrent", "borrowed"])
def test_the_module_of_the_caller_is_left_as_it_was(name, report):
    module, first, X, y = made(name)
    module.train()
    next(module.parameters()).requires_grad_(False)
    module.register_forward_hook(lambda *_: None)
    with torch.no_grad():  # a switch of the caller's, which is in force again afterwards
        before = snapshot(module)
        report(module, X, y, before=first)
        after = snapshot(module)
    for what, value in before.items():
        assert after[what] == value, what


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
@pytest.mark.parametrize("name", ["normalisations", "attending"])
def test_the_module_is_left_as_it_was_where_a_report_is_stopped(name, error):
    module, first, X, y = made(name)
    before, calls = snapshot(module), 0

    def forward(module, rows):
        nonlocal calls
        calls += 1
        if calls == last:
            raise error
        return module(rows)

    network = TorchNetwork(module, first, forward=forward)
    last = 0
    regime_report(network, X, y)
    for last in np.unique(np.linspace(1, calls, 12).astype(int)):
        calls = 0
        with pytest.raises((error, ValueError)):
            regime_report(network, X, y)
        after = snapshot(module)
        assert after == before, last


def test_rounding_in_single_precision_is_no_sign_of_batches(rng):
    """As of a network less what it was at the start, at a large scale."""

    class Centred(nn.Module):
        def __init__(self):
            super().__init__()
            self.module = nn.Sequential(nn.Linear(90, 300), nn.Tanh(), nn.Linear(300, 1))
            self.first = copy.deepcopy(self.module).requires_grad_(False)

        def forward(self, rows):
            return 1e4 * (self.module(rows) - self.first(rows))

    module = Centred()
    first = copy.deepcopy(module.state_dict())
    with torch.no_grad():
        for value in module.module.parameters():
            value += 1e-4 * torch.randn_like(value)
    X, y = rng.standard_normal((200, 90)), rng.standard_normal(200)
    single, double = (
        regime_report(TorchNetwork(module, first, dtype=dtype), X, y).diagnostics["linearization_gap"]
        for dtype in (torch.float32, torch.float64)
    )
    assert single == pytest.approx(double, abs=0.02)


@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")  # PyTorch's own, by torch.compile
def test_every_way_to_give_the_start_gives_the_same(tmp_path, rng):
    torch.manual_seed(3)
    module = mlp()
    first = copy.deepcopy(module.state_dict())
    with torch.no_grad():
        module[0].weight += 0.3
    X, y = rng.standard_normal((15, 4)), rng.standard_normal((15, 2))
    torch.save(first, tmp_path / "plain.pt")
    torch.save({"state_dict": {f"model.{key}": value for key, value in first.items()}, "epoch": 3}, tmp_path / "l.ckpt")
    expected = regime_report(module, X, y, before=first).diagnostics
    untrained = mlp()
    untrained.load_state_dict(first)
    generator = torch.get_rng_state()
    starts = [tmp_path / "plain.pt", str(tmp_path / "l.ckpt"), (mlp, 3), untrained]
    if importlib.util.find_spec("safetensors"):
        from safetensors.torch import save_file

        save_file(first, tmp_path / "first.safetensors")
        starts.append(tmp_path / "first.safetensors")
    for before in starts:
        assert regime_report(module, X, y, before=before).diagnostics == expected
    assert torch.equal(torch.get_rng_state(), generator)
    compiled = torch.compile(module)
    assert regime_report(compiled, X, y, before={f"_orig_mod.{k}": v for k, v in first.items()}).diagnostics == expected
    assert regime_report(nn.DataParallel(module), X, y, before=first).diagnostics == expected


def test_a_start_that_is_a_view_is_refused_with_the_remedy(rng):
    module = mlp()
    with pytest.raises(ValueError, match=r"copy\.deepcopy"):
        regime_report(module, rng.standard_normal((12, 4)), rng.standard_normal((12, 2)), before=module.state_dict())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: None, "before is required, because PyTorch does not keep"),
        (lambda s: {k: v for k, v in s.items() if k != "2.bias"}, r"missing \['2.bias'\]"),
        (lambda s: s | {"more": torch.ones(1)}, r"unexpected \['more'\]"),
        (lambda s: s | {"2.bias": torch.ones(9)}, r"2.bias has shape \(9,\)"),
        (lambda s: s | {"2.bias": torch.full((6,), torch.nan)}, "2.bias is not finite in before"),
    ],
    ids=["none", "missing", "unexpected", "shape", "not finite"],
)
def test_a_start_that_does_not_fit_is_named(change, message):
    module, first, X, y = made("mlp")
    with pytest.raises(ValueError, match=message):
        regime_report(module, X, y, before=change(first))


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")  # PyTorch's own, of 2.3
def test_what_is_no_function_of_a_row_is_refused(rng):
    class Random(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(4, 2)

        def forward(self, rows):
            return F.dropout(self.a(rows), 0.5)

    X, y = rng.standard_normal((12, 4)), rng.standard_normal((12, 2))
    module = Random()
    first = copy.deepcopy(module.state_dict())
    with torch.no_grad():
        module.a.weight += 1
    with pytest.raises(ValueError, match="each row separately"):
        regime_report(module, X, y, before=first)
    module = nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2, track_running_stats=False))
    with pytest.raises(ValueError, match="track_running_stats"):
        regime_report(module, X, y, before=copy.deepcopy(module.state_dict()))
    with pytest.raises(ValueError, match="not initialised"):
        regime_report(nn.LazyLinear(2), X, y, before={})
    module = nn.LSTM(4, 2)
    with pytest.raises(ValueError, match="forward="):
        regime_report(module, X, y, before=copy.deepcopy(module.state_dict()))


def quantised():
    module = nn.Linear(4, 2)
    module.register_buffer("table", torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8))
    return module


def infinite():
    module = nn.Linear(4, 2)
    nn.init.constant_(module.bias, torch.inf)
    return module


@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning", "ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: nn.Linear(4, 2, device="meta"), "weight is on the device 'meta'"),
        (lambda: nn.Linear(4, 2, dtype=torch.complex64), "weight is complex"),
        (lambda: torch.jit.script(nn.Linear(4, 2)), "The weights of a TorchScript module"),
        (quantised, "table is quantised"),
        (infinite, "bias is not finite after training"),
    ],
    ids=["meta", "complex", "script", "quantised", "infinite"],
)
def test_modules_that_cannot_be_differentiated_are_refused_by_name(build, message, rng):
    with pytest.raises(ValueError, match=message):
        regime_report(build(), rng.standard_normal((12, 4)), rng.standard_normal((12, 2)), before={})


def test_a_module_whose_copy_has_other_names_is_refused():
    """As models of Keras."""

    class Renamed(nn.Module):
        def __init__(self, name):
            super().__init__()
            self.add_module(name, nn.Linear(4, 2))

        def __deepcopy__(self, memo):
            return Renamed("copied")

    module, _, X, y = Renamed("original"), *made("mlp")[1:]
    first = {key: value + 1 for key, value in module.state_dict().items()}
    with pytest.raises(ValueError, match="A copy of this Renamed has other parameter names"):
        regime_report(module, X, y, before=first)


def test_rows_are_tuples_dicts_datasets_and_whole_numbers(rng):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(5, 3)
            self.head = nn.Linear(6, 2)

        def forward(self, number, words):
            return self.head(torch.tanh(torch.cat([number, self.embedding(words)], dim=1)))

    module = Two()
    first = copy.deepcopy(module.state_dict())
    with torch.no_grad():
        module.head.weight += 0.2
    number, words, y = rng.standard_normal((14, 3)), rng.integers(5, size=14), rng.standard_normal((14, 2))
    report = regime_report(module, (number, words), y, before=first)
    expected = report.diagnostics
    assert expected["directions_after"] is None
    assert "directions are unknown" in str(report)
    named = {"words": torch.as_tensor(words), "number": torch.as_tensor(number)}
    data = [((torch.as_tensor(a), int(b)), c) for a, b, c in zip(number, words, y)]

    class Pairs(torch.utils.data.Dataset):
        def __len__(self):
            return len(data)

        def __getitem__(self, k):
            return data[k]

    for X, target in ((named, y), (Pairs(), None)):
        found = regime_report(module, X, target, before=first).diagnostics
        assert {k: v for k, v in found.items() if v} == pytest.approx(
            {k: v for k, v in expected.items() if v}, rel=1e-9
        )


def test_parameters_that_are_fixed_are_no_weights(rng):
    module, first, X, y = made("mlp")
    for value in module[:3].parameters():
        value.requires_grad_(False)
    head = regime_report(module, X, y, before=first)
    assert [layer["layer"] for layer in head.layers] == ["4"]
    assert head.diagnostics["linearization_gap"] < 1e-12  # linear in its last layer
    for value in module.parameters():
        value.requires_grad_(True)
    named = TorchNetwork(module, first, parameters=lambda name: name.startswith("4."))
    assert regime_report(named, X, y).diagnostics == head.diagnostics


def test_patterns_name_the_weights(rng):
    module, first, X, y = made("mlp")
    for patterns, layers in (("4.*", ["4"]), (["0.weight", "4.*"], ["0", "4"]), ("*.bias", ["0", "2", "4"])):
        report = regime_report(TorchNetwork(module, first, parameters=patterns), X, y)
        assert [layer["layer"] for layer in report.layers] == layers
    with pytest.raises(ValueError, match=r"parameters matches no parameter of the module, which has \['0.weight'"):
        regime_report(TorchNetwork(module, first, parameters="head.*"), X, y)
    with pytest.raises(TypeError, match="parameters must be callable, a pattern"):
        TorchNetwork(module, first, parameters=[1])


@pytest.mark.parametrize(
    ("last", "noted"),
    [(nn.Softmax(1), "look like probabilities"), (nn.LogSoftmax(1), "look like logarithms"), (nn.Identity(), None)],
)
def test_outputs_that_are_no_scores_are_noted(last, noted, rng):
    module, first, X, _ = made("mlp", n=30)
    layered, y = nn.Sequential(module, last), rng.integers(2, size=30)
    notes = regime_report(layered, X, y, before={f"0.{key}": value for key, value in first.items()}).notes
    assert [note for note in notes if "look like p" in note or "look like l" in note] == [
        note for note in notes if noted and noted in note
    ]
    assert any(noted in note for note in notes) if noted else True


def test_a_sigmoid_and_targets_of_one_hot_are_noted(rng):
    module, first, X, _ = made("mlp", n=30)
    y = rng.integers(2, size=30)
    assert any("a single 1 in each row" in note for note in regime_report(module, X, np.eye(2)[y], before=first).notes)
    one = nn.Sequential(nn.Linear(4, 1), nn.Sigmoid())
    start = {key: value + 0.3 for key, value in one.state_dict().items()}
    assert any("look like probabilities" in note for note in regime_report(one, X, y == 1, before=start).notes)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_in_half_precision_are_those_that_were_stored(dtype):
    """The start is rounded alike, so that what training did not move has not moved."""
    module, first, X, y = made("mlp")
    module = module.to(dtype)
    with torch.no_grad():
        module[2].weight.copy_(first["2.weight"])
    rounded = {key: value.to(dtype).double() for key, value in first.items()}
    report = regime_report(module, X, y, before=first)
    expected = regime_report(copy.deepcopy(module).double(), X, y, before=rounded)
    for name, value in expected.diagnostics.items():
        assert report.diagnostics[name] == (value if value is None else pytest.approx(value, rel=1e-9)), name
    assert any("half precision" in note for note in report.notes)


def test_few_rows_of_a_large_module_take_part_by_default(rng, monkeypatch):
    module, first, X, y = made("mlp", n=330)
    assert regime_report(module, X, y, before=first).n_rows == 330
    monkeypatch.setattr("sklearn_ltdl.diagnostics._torch.MANY_WEIGHTS", 50)
    exact = TorchNetwork(module, first, kernel="exact")
    report = regime_report(exact, X, y)
    assert report.n_rows == 300
    assert any("300 of 330 rows" in note for note in report.notes)
    assert regime_report(exact, X, y, max_rows=320).n_rows == 320


def test_a_sketch_is_without_bias_and_its_error_falls_as_the_root(rng):
    module, first, X, y = made("mlp", n=12)
    exact, rows, _, _ = trained_network(module, X, y, before=first)
    K, errors = exact.function.kernel(exact.after, rows), []
    for n_probes in (25, 400):
        sketch = TorchNetwork(module, first, kernel="sketch", n_probes=n_probes)
        trained, rows, _, notes = trained_network(sketch, X, y)
        assert any("random directions of the weights" in note for note in notes)
        found = trained.function.kernel(trained.after, rows)
        errors.append(np.linalg.norm(found - K) / np.linalg.norm(K))
    assert errors[1] < 0.15  # the root of (1 + effective rank) / n_probes, about
    assert 1.5 < errors[0] / errors[1] < 12  # 4 in the mean


def test_a_kernel_explains_a_module_by_its_rows(rng):
    module, first, X, y = made("mlp", n=40)
    explanation = explain_as_kernel(module, X, y, before=first)
    assert explanation.influence(X[:3]).shape == (3, 40, 2)
    np.testing.assert_allclose(explanation.predict(X[:3]), explanation.predict(X)[:3], rtol=1e-8)


def test_a_wrong_seed_is_noted_and_the_right_one_is_not(rng):
    def big():
        return nn.Sequential(nn.Linear(4, 60), nn.Tanh(), nn.Linear(60, 60), nn.Tanh(), nn.Linear(60, 1))

    torch.manual_seed(0)
    module = big()
    X = rng.standard_normal((60, 4)).astype(np.float32)
    y = np.sin(2 * X[:, 0])
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
    for _ in range(100):
        optimizer.zero_grad()
        loss = ((module(torch.as_tensor(X))[:, 0] - torch.as_tensor(y)) ** 2).mean()
        loss.backward()
        optimizer.step()
    for seed, noted in ((0, False), (1, True)):
        report = regime_report(module, X, y, before=(big, seed))
        assert any("are probably not those of" in note for note in report.notes) == noted


def test_skorch_nets_and_pipelines_are_unwrapped(rng):
    skorch = pytest.importorskip("skorch", reason="skorch is not installed")
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    X = (3 * rng.standard_normal((40, 4)) + 1).astype(np.float32)
    y = np.sin(X[:, :1]).astype(np.float32)
    keep = KeepFirstWeights()
    net = skorch.NeuralNetRegressor(
        nn.Sequential(nn.Linear(4, 9), nn.Tanh(), nn.Linear(9, 1)),
        max_epochs=5,
        verbose=0,
        train_split=None,
        callbacks=[("first", keep)],
    )
    pipeline = make_pipeline(StandardScaler(), net).fit(X, y)
    first = dict(pipeline[-1].callbacks_)["first"].state_dict_
    scaled = pipeline[:-1].transform(X)
    expected = regime_report(pipeline[-1].module_, scaled, y, before=first).diagnostics
    assert expected["displacement"] > 0
    assert regime_report(pipeline, X, y, before=first).diagnostics == expected
    assert regime_report(pipeline[-1], scaled, y, before=first).diagnostics == expected
    assert explain_as_kernel(pipeline, X, y, before=first).influence(X[:2]).shape == (2, 40)


def test_the_package_imports_no_torch():
    code = (
        "import sys, numpy as np, sklearn_ltdl as s; from sklearn.neural_network import MLPRegressor as M; "
        "X = np.arange(40.0).reshape(20, 2) % 7; import warnings; warnings.simplefilter('ignore'); "
        "net = M(hidden_layer_sizes=5, max_iter=5, random_state=0).fit(X, X[:, 0]); "
        "s.regime_report(net, X, X[:, 0]); print('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.split() == ["False"]
