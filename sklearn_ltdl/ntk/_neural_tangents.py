"""Kernels of networks of any architecture, by neural-tangents (Novak et al. 2020, arXiv:1912.02803).

Its last release, 0.6.5 of 2023, is written for a JAX of its time and requires TensorFlow for a part that is not needed
here. It is imported as it is, while JAX offers the few names that have moved since.
"""

import functools
import importlib
import inspect
import pickle
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from math import isqrt, prod
from numbers import Integral
from threading import Lock
from types import ModuleType
from typing import Any, Self

import joblib
import numpy as np
from sklearn import get_config

from sklearn_ltdl.ntk._kernels import Kernel

VERSION = "0.6.5"
TESTED_JAX = "0.8 to 0.12"
MOVED = ("Jaxpr", "JaxprEqn", "Literal", "Primitive", "Var")  # from jax.core to jax.extend.core
INSTALL = f"    pip install --no-deps neural-tangents=={VERSION}\n    pip install frozendict"
TEMPORARIES = 8  # arrays of the largest intermediate's size that compiled kernels hold; 6 or 7 were measured

_importing = Lock()


def load_neural_tangents() -> ModuleType:
    """Import neural-tangents 0.6.5, which can no longer be imported by its name alone.

    It is to be installed without what it requires, of which TensorFlow (1.9 GB) is never used::

        pip install --no-deps neural-tangents==0.6.5
        pip install frozendict

    of which the second lists TensorFlow as missing. Names that have moved since are put where neural-tangents looks for
    them during its import, and taken away after. JAX 0.8 to 0.12 are known to work. All of `stax`, `predict` and the
    finite networks' kernels does but ``empirical_ntk_fn`` with implementations 0, which tries it, and 3; the subpackage
    `experimental` is empty.

    Returns
    -------
    neural_tangents : module

    Raises
    ------
    ImportError
        If neural-tangents is absent, of another version, or fails to import; it says how to install it.

    See Also
    --------
    StaxKernel : A kernel of neural-tangents between rows of a table.

    Examples
    --------
    >>> from sklearn_ltdl.ntk import load_neural_tangents
    >>> stax = load_neural_tangents().stax  # doctest: +SKIP
    >>> network = stax.serial(stax.Dense(512), stax.Relu(), stax.Dense(1))  # doctest: +SKIP
    """
    try:
        installed = metadata.version("neural-tangents")
    except metadata.PackageNotFoundError:
        installed = None
    if installed != VERSION:
        found = "is not installed" if installed is None else f"is {installed}"
        raise ImportError(f"neural-tangents {found}; version {VERSION} is needed. Install it with\n{INSTALL}")
    with _importing:
        if "neural_tangents" in sys.modules:
            return sys.modules["neural_tangents"]
        try:
            with _names_of_older_jax():
                return importlib.import_module("neural_tangents")
        except Exception as error:
            raise ImportError(
                f"neural-tangents {VERSION} fails to import ({type(error).__name__}: {error}). It is tested with JAX "
                f"{TESTED_JAX}, installed is {metadata.version('jax')}. Install it with\n{INSTALL}"
            ) from error


@contextmanager
def _names_of_older_jax():
    """Offer what neural-tangents imports from JAX of 2023, and an empty module for its part that needs TensorFlow."""
    import jax.core
    import jax.extend.core as extended
    from jax.interpreters import ad

    places = [
        (vars(jax.core), {name: getattr(extended, name) for name in MOVED}),
        (vars(ad), {"zeros_like_p": extended.Primitive("zeros_like")}),
        (sys.modules, {"jax.util": importlib.import_module("jax._src.util")}),
        (sys.modules, {"neural_tangents.experimental": ModuleType("neural_tangents.experimental")}),
    ]
    replaced = [{name: place[name] for name in names if name in place} for place, names in places]
    try:
        for place, names in places:
            place.update(names)
        yield
    finally:
        for (place, names), before in zip(places, replaced):
            for name in names:
                place.pop(name, None)
            place.update(before)


@dataclass(frozen=True)
class StaxKernel(Kernel):
    """Kernel of a network of neural-tangents, of any architecture, between the rows of a table.

    For `kernel=` of `NTKKernelRegressor`, `NTKKernelClassifier` and of what else takes a callable, as `SVC`. Values are
    computed in double precision, whatever JAX's setting, in blocks of pairs that keep to the `working_memory` of
    `sklearn.set_config`. Unlike `kernel_fn` itself it can be pickled, for the same version of Python.

    Parameters
    ----------
    kernel_fn : callable
        The third of what ``stax.serial(...)`` returns. Widths in it do not matter, nor does the number of outputs.
    input_shape : tuple of int, default=None
        Shape in which the network takes one row, such as ``(8, 8, 1)`` for images of height, width and channels; as it
        is if None.
    get : {'ntk', 'nngp'}, default='ntk'
        The tangent kernel, or the covariance of the outputs at initialisation.

    See Also
    --------
    load_neural_tangents : Imports neural-tangents, and says how to install it.
    ntk_kernel : Kernel of a fully connected ReLU network, many times faster.

    Notes
    -----
    Values between nearly parallel inputs are good to 1e-8 of the diagonal only. A network that pools (`GlobalAvgPool`,
    `AvgPool`) needs the covariances of all pairs of pixels; one that flattens, those of equal pixels only, which took a
    50th of the time for images of 8 x 8.

    References
    ----------
    .. [1] R. Novak et al. "Neural Tangents: fast and easy infinite neural networks in Python". ICLR 2020,
       arXiv:1912.02803.
    .. [2] S. Arora et al. "On exact computation with an infinitely wide neural net". NeurIPS 2019, arXiv:1904.11955,
       section 4, for convolutions.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ltdl import NTKKernelClassifier
    >>> from sklearn_ltdl.ntk import StaxKernel, load_neural_tangents
    >>> stax = load_neural_tangents().stax  # doctest: +SKIP
    >>> network = stax.serial(stax.Conv(1, (3, 3)), stax.Relu(), stax.Flatten(), stax.Dense(1))  # doctest: +SKIP
    >>> kernel = StaxKernel(network[2], input_shape=(8, 8, 1))  # doctest: +SKIP
    >>> NTKKernelClassifier(kernel=kernel).fit(*load_digits(return_X_y=True))  # doctest: +SKIP
    """

    kernel_fn: Any
    input_shape: tuple[int, ...] | None = None
    get: str = "ntk"

    def __post_init__(self) -> None:
        if not is_kernel_fn(self.kernel_fn):
            raise TypeError(
                "kernel_fn must be a function with a parameter `get`, the third of what stax.serial(...) returns; "
                f"got {self.kernel_fn!r}."
            )
        if self.get not in ("ntk", "nngp"):
            raise ValueError(f"get must be 'ntk' or 'nngp'; got {self.get!r}.")
        if self.input_shape is not None:
            if not all(isinstance(length, Integral) and length > 0 for length in np.atleast_1d(self.input_shape)):
                raise ValueError(f"input_shape must be a tuple of positive integers; got {self.input_shape!r}.")
            object.__setattr__(self, "input_shape", tuple(np.atleast_1d(self.input_shape).tolist()))  # hashable

    def _matrix(self, X, Z):
        x = self._inputs(X, "X")
        z = x if Z is None else self._inputs(Z, "Z")
        compiled = _compiled(self, x.shape[1:])
        size = isqrt(compiled.pairs())
        K = np.empty((len(x), len(z)))
        for rows in _blocks(len(x), size):
            for columns in _blocks(rows.stop if Z is None else len(z), size):
                K[rows, columns] = compiled.kernel(x[rows], z[columns], size)
                if Z is None and columns != rows:
                    K[columns, rows] = K[rows, columns].T
        return K

    def _diagonal(self, X):
        x = self._inputs(X, "X")
        compiled = _compiled(self, x.shape[1:])
        size = compiled.pairs()
        return np.concatenate([compiled.diagonal(x[rows], size) for rows in _blocks(len(x), size)])

    def _inputs(self, X, name):
        shape = X.shape[1:] if self.input_shape is None else self.input_shape
        if X.shape[1] != prod(shape):
            raise ValueError(
                f"{name} has {X.shape[1]} columns; with input_shape={self.input_shape} it must have {prod(shape)}."
            )
        return X.reshape(len(X), *shape).astype(np.float64, copy=False)

    def __deepcopy__(self, memo: Any) -> Self:
        return self  # immutable, and scikit-learn's clone need not compile it again

    def __reduce__(self) -> tuple[Any, ...]:
        by_value = joblib.wrap_non_picklable_objects(self.kernel_fn, keep_wrapper=False)  # it is a closure
        return _unpickled, (pickle.dumps(by_value), self.input_shape, self.get)


def is_kernel_fn(kernel):
    """Tell whether a callable is one of neural-tangents, by its parameter `get`."""
    try:
        return "get" in inspect.signature(kernel).parameters
    except (TypeError, ValueError):  # no callable, or one in C that does not tell
        return False


def as_kernel(kernel):
    """Return a kernel or a user's callable as it is, a `kernel_fn` of neural-tangents as a `StaxKernel`."""
    if isinstance(kernel, type):
        raise TypeError(f"kernel is the class {kernel.__name__}; give an object of it, such as {kernel.__name__}().")
    return StaxKernel(kernel) if is_kernel_fn(kernel) else kernel


def _unpickled(kernel_fn, input_shape, get):
    load_neural_tangents()  # its modules are referred to by their names
    return StaxKernel(pickle.loads(kernel_fn), input_shape, get)


class _Compiled:
    """Jitted functions of a kernel for inputs of one shape, and the memory that they need."""

    def __init__(self, kernel, shape) -> None:
        import jax

        from sklearn_ltdl._backends.jax import precise

        kernel_fn = functools.partial(kernel.kernel_fn, get=kernel.get)
        self.shape, self.precise = shape, precise
        self.pair = jax.jit(kernel_fn)
        self.self_pairs = jax.jit(jax.vmap(lambda x: kernel_fn(x[None], None)[0, 0]))
        with precise():
            one = jax.ShapeDtypeStruct((1, *shape), np.float64)
            try:
                traced = jax.make_jaxpr(kernel_fn)(one, one)
            except Exception as error:
                raise ValueError(
                    f"kernel_fn does not take inputs of shape {shape} ({type(error).__name__}: {error}). "
                    "Give StaxKernel(kernel_fn, input_shape=...) the shape of one input of the network."
                ) from error
        if [value.shape for value in traced.out_avals] != [(1, 1)]:
            raise ValueError(
                f"kernel_fn returns shape {traced.out_avals[0].shape} for one pair of inputs, expected (1, 1). "
                "End the network with Flatten or GlobalAvgPool, and Dense."
            )
        entries = max(value.aval.size for step in traced.jaxpr.eqns for value in step.outvars)
        self.bytes = 8 * TEMPORARIES * entries  # of one pair

    def pairs(self):
        """Return how many pairs fit in the working memory."""
        limit = get_config()["working_memory"]
        if self.bytes > limit * 2**20:
            raise MemoryError(
                f"The kernel of one pair of inputs of shape {self.shape} needs {self.bytes / 2**20:.0f} MiB, more "
                f"than the working_memory of {limit} MiB. Take smaller inputs, a network that flattens where it pools, "
                "or sklearn.set_config(working_memory=...)."
            )
        return int(limit * 2**20 // self.bytes)

    def kernel(self, x, z, size):
        with self.precise():
            return np.asarray(self.pair(_padded(x, size), _padded(z, size)))[: len(x), : len(z)]

    def diagonal(self, x, size):
        with self.precise():
            return np.asarray(self.self_pairs(_padded(x, size)))[: len(x)]


_compiled = functools.lru_cache(maxsize=8)(_Compiled)


def _padded(x, size):
    """Repeat rows up to a power of two or a full block: a new shape would be compiled, for a second."""
    return np.resize(x, (min(size, 1 << (len(x) - 1).bit_length()), *x.shape[1:]))


def _blocks(n, size):
    return [slice(i, min(i + size, n)) for i in range(0, n, size)]
