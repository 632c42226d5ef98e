"""What is not collected where a framework is missing."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("torch") else ["sklearn_ltdl/torch.py", "sklearn_ltdl/diagnostics/_torch*.py"]
