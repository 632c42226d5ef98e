"""Networks of PyTorch, for `regime_report` and `explain_as_kernel`; importing this imports torch."""

from sklearn_ltdl.diagnostics._torch import TorchNetwork
from sklearn_ltdl.diagnostics._torch_start import KeepFirstWeights

__all__ = ["KeepFirstWeights", "TorchNetwork"]
