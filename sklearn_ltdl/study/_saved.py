"""Models in files: skops writes them as data, and they are read without running untrusted code."""

import io
import json
import warnings
import zipfile
from dataclasses import is_dataclass
from importlib import import_module
from itertools import chain
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    RandomTreesEmbedding,
)
from sklearn.exceptions import InconsistentVersionWarning

from sklearn_ltdl.running._written import write_whole
from sklearn_ltdl.tables._notes import listed

PICKLE = "pickle"  # the option that trusts a pickle or joblib file
_OLDEST_PROTOCOL = 2  # oldest protocol of skops that this package has used
_KNOWN = {
    "numpy.clip",
    "numpy.dtype",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.tree._tree.Tree",
    "sklearn_ltdl.tables._kinds.to_levels",
    "sklearn_ltdl.tables._kinds.to_numbers",
    "sklearn_ltdl.study._log.LogTarget",
    "sklearn_ltdl.study._models.HeldLazy",
    "sklearn_ltdl.study._models.OutOfBag",
    "sklearn_ltdl.study._models.Tuned",
    "sklearn_ltdl.tables._pipeline._OfKind",
}
_BY_TREES = (  # their trees do not check the rows again
    RandomForestClassifier, RandomForestRegressor, ExtraTreesClassifier, ExtraTreesRegressor, RandomTreesEmbedding,
    GradientBoostingClassifier, GradientBoostingRegressor,
)  # fmt: skip
_NODES = {  # nodes of skops, without those that call a method, a partial function or an operator
    f"{name}Node"
    for name in (
        "Bytes", "Cached", "ConstructorFromReduce", "DType", "DefaultDict", "Dict", "Function", "Json", "List", "Loss",
        "MaskedArray", "NdArray", "Object", "RandomGenerator", "RandomState", "Set", "Slice", "Tree", "Tuple", "Type",
    )
}  # fmt: skip


def save(model, path):
    """Write a fitted model as data, completely or not at all, and return its types that must be trusted by name."""
    skops = _skops()
    try:
        data = skops.dumps(model)
        types = skops.get_untrusted_types(data=data)
        _checked(data)
        skops.loads(data, trusted=types)  # an object that cannot be found by its name is not data
    except Exception as error:  # from the model's own classes
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise TypeError(
            f"{path}: {type(last_step(model)).__name__} cannot be saved as data ({reason}); define its functions by "
            "name in a module, not as lambda."
        ) from error
    write_whole(path, data)
    return [_as_option(name) for name in types if not _is_known(name)]


def load(path, trust=()):
    """Return the model in a file, and notes.

    Parameters
    ----------
    path : str or Path
        A skops file; its content decides, not its name.
    trust : collection of str, default=()
        Types to load in addition to those of this package and scikit-learn, as ``module:Class``. With ``'pickle'``, the
        file may also be a pickle or joblib file. Loading such a file runs the code in it.

    Raises
    ------
    ValueError
        Says in one sentence why the file is not loaded.
    """
    wrong = [name for name in trust if name != PICKLE and not all(name.partition(":"))]
    if wrong:
        raise ValueError(f"--trust {wrong[0]}: expected MODULE:CLASS, such as my_models:Model, or {PICKLE}.")
    if not Path(path).is_file():
        raise ValueError(f"{path}: expected a model file, as ltdl compare --save writes; no such file.")
    data = Path(path).read_bytes()
    if not data:
        raise ValueError(f"{path}: expected a model file, as ltdl compare --save writes, got an empty file.")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", InconsistentVersionWarning)
        model = _from_data(path, data, trust) if data.startswith(b"PK") else _from_pickle(path, data, trust)
    if not hasattr(model, "predict"):
        raise ValueError(f"{path}: expected a model that predicts, got an object of type {type(model).__name__}.")
    versions = {
        warning.message.original_sklearn_version
        for warning in caught
        if issubclass(warning.category, InconsistentVersionWarning)
    }
    return model, [f"The model was saved with scikit-learn {version}." for version in sorted(versions)]


def last_step(model):
    """Return the estimator at the end of a pipeline."""
    return model[-1] if hasattr(model, "steps") else model


def _skops():
    try:
        import skops.io
    except ImportError as error:
        raise ImportError('Files of models need skops: pip install "sklearn_ltdl[report]"') from error
    return skops.io


def _from_pickle(path, data, trust):
    if PICKLE not in trust:
        raise ValueError(
            f"{path}: not loaded, because ltdl compare --save writes no such file; loading a pickle or joblib file "
            f"runs the code in it, so give --trust {PICKLE} only if you know who made the file."
        )
    import joblib

    try:
        return joblib.load(io.BytesIO(data))
    except Exception as error:  # the exception for a file that is not a pickle depends on its first bytes
        raise _unloadable(path, error) from error


def _from_data(path, data, trust):
    skops = _skops()
    trusted = {name.replace(":", ".") for name in trust if name != PICKLE}
    try:
        _checked(data)
        types = skops.get_untrusted_types(data=data)
        unknown = [name for name in types if name not in trusted and not _is_known(name)]
        if not unknown:
            model = skops.loads(data, trusted=types)
            _check_features(model)
            return model
    except Exception as error:  # a file that was altered may be wrong in any way
        raise _unloadable(path, error) from error
    raise ValueError(
        f"{path}: not loaded, because it holds {listed(unknown)}, which is not part of this package or scikit-learn "
        "and may run any code; if it is yours, trust it with --trust MODULE:CLASS."
    )


def _unloadable(path, error):
    reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return ValueError(
        f"{path}: expected a model file, as ltdl compare --save writes, but it cannot be loaded ({reason}); it may be "
        "damaged, or written by newer versions of the packages."
    )


def _as_option(name):
    return ":".join(name.rpartition(".")[::2])


def _is_known(name):
    """Return whether a name belongs to a class of this package, or to an object that its pipelines contain."""
    module, _, attribute = name.rpartition(".")
    if name in _KNOWN:
        return True
    if not module.startswith("sklearn_ltdl.") or module.startswith("sklearn_ltdl.study"):
        return False
    try:
        found = getattr(import_module(module), attribute, None)
    except ImportError:
        return False
    return (
        isinstance(found, type)
        and found.__module__ == module
        and (issubclass(found, BaseEstimator | tuple) or is_dataclass(found))
    )


def _checked(data):
    """Raise a ValueError if a skops file could do harm before its types are known, or through its trees."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        sizes = {member.filename: member.file_size for member in archive.infolist()}
        packed = any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist())
        if packed or sum(member.file_size for member in archive.infolist()) > len(data):
            raise ValueError("it has compressed parts, which may unfold without end; skops.io.dump writes none")
        schema = json.loads(archive.read("schema.json"))
        protocol = schema.get("protocol")
        if not isinstance(protocol, int) or protocol < _OLDEST_PROTOCOL:
            raise ValueError(f"expected protocol {_OLDEST_PROTOCOL} or later of skops, got {protocol!r}")
        read, total = set(), 0
        for node in _nodes(schema):
            if node["__loader__"] not in _NODES:
                raise ValueError(f"a {node['__loader__']} is not data")
            file, key = node.get("file"), (node.get("file"), node.get("__id__"))
            if file is not None and (key not in read or key[1] is None):
                read.add(key)
                total += sizes[file]
                if node["__loader__"] == "NdArrayNode" and not archive.open(file).read(6) == b"\x93NUMPY":
                    raise ValueError(f"{file} is not an array")
            if total > len(data):
                raise ValueError("its parts are read more than once")
            is_tree = (node["__module__"], node["__class__"]) == ("sklearn.tree._tree", "Tree")
            if is_tree and node["__loader__"] != "TypeNode":
                _check_tree(node, lambda part: np.load(io.BytesIO(archive.read(part["file"])), allow_pickle=False))


def _nodes(schema):
    """Yield all nodes of a schema."""
    left = [schema]
    while left:
        part = left.pop()
        if isinstance(part, dict) and isinstance(part.get("__loader__"), str):
            yield part
        left += part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()


def _check_tree(node, array):
    """Raise a ValueError if compiled code, which does not check the numbers of a tree, would read out of bounds."""
    if node["__loader__"] != "TreeNode":
        raise ValueError("a tree is not stored as a tree")
    n_features, n_classes, n_outputs = node["__reduce__"]["args"]["content"]
    n_features, n_outputs = json.loads(n_features["content"]), json.loads(n_outputs["content"])
    state = node["content"]["content"]
    nodes, values, n_classes = array(state["nodes"]), array(state["values"]), array(n_classes)
    sound = (
        n_features > 0
        and n_classes.shape == (n_outputs,)
        and (n_classes > 0).all()
        and values.shape == (len(nodes), n_outputs, n_classes.max())
        and json.loads(state["node_count"]["content"]) == len(nodes)
        and _is_tree(nodes["left_child"], nodes["right_child"], nodes["feature"], nodes["left_child"] == -1, n_features)
    )
    if not sound:
        raise ValueError("a tree has branches that lead nowhere")


def _is_tree(left, right, feature, leaf, n_features):
    """Return whether each branch leads to a later node, and splits by an existing feature."""
    inner = np.flatnonzero(~leaf)
    return len(leaf) > 0 and all(
        (low < part[inner]).all() and (part[inner] < high).all()
        for part, low, high in ((left, inner, len(leaf)), (right, inner, len(leaf)), (feature, -1, n_features))
    )


def _check_features(model):
    """Raise a ValueError if a tree in a model uses features that the model does not have."""
    left, seen = [model], set()
    while left:
        part = left.pop()
        if id(part) in seen or isinstance(part, str | bytes | type):
            continue
        seen.add(id(part))
        if isinstance(part, dict):
            left += part.values()
        elif isinstance(part, list | tuple | set):
            left += part
        elif isinstance(part, np.ndarray):
            left += part.ravel().tolist() if part.dtype == object else ()
        elif hasattr(part, "__dict__"):
            left += vars(part).values()
            inside = isinstance(part, _BY_TREES)
            trees = np.ravel(part.estimators_) if inside and hasattr(part, "estimators_") else ()
            trees = [getattr(tree, "tree_", None) for tree in (part, *trees)]
            taken = getattr(part, "n_features_in_", None)
            sound = all(tree is None or tree.n_features == taken for tree in trees) and all(
                _is_predictor(tree, taken) for tree in chain.from_iterable(getattr(part, "_predictors", ()))
            )
            if not sound:
                raise ValueError("a tree uses features that the model does not have")


def _is_predictor(predictor, n_features):
    """Return whether a boosting tree is sound, as in `_check_tree`."""
    nodes = predictor.nodes
    known = (predictor.raw_left_cat_bitsets, predictor.binned_left_cat_bitsets)
    leaf = nodes["is_leaf"] != 0
    categorical = nodes["bitset_idx"][(nodes["is_categorical"] != 0) & ~leaf]
    return _is_tree(nodes["left"], nodes["right"], nodes["feature_idx"], leaf, n_features) and all(
        sets.ndim == 2 and sets.shape[1] == 8 and (categorical < len(sets)).all() for sets in known
    )
