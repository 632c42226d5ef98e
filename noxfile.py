"""Environments to test in: ``nox -s tests``, ``nox -s oldest`` (the oldest libraries supported), ``nox -s lint``."""

import nox

nox.options.sessions = ["tests", "lint", "typing"]
TYPED = [
    *(f"sklearn_ltdl/{name}.py" for name in ("__init__", "_registry", "_shown", "activations", "losses", "results")),
    *(f"sklearn_ltdl/{name}.py" for name in ("scalings", "ntk/_kernels", "study/__init__")),
    "tests/typing/user_code.py",
]
OLDEST = ["scikit-learn==1.8.*", "jax==0.8.*", "jaxlib==0.8.*"]


@nox.session(python=["3.11", "3.12", "3.13"])
def tests(session):
    session.install("-e", ".[test]")
    session.run("python", "-m", "pytest", "-q", "-n", "2", *session.posargs)


@nox.session(python="3.11")
def oldest(session):
    session.install("-e", ".[test]", *OLDEST)
    session.run("python", "-m", "pytest", "-q", "-n", "2", *session.posargs)


@nox.session
def lint(session):
    session.install("ruff")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def docs(session):
    session.install("-e", ".[docs]")
    session.run("python", "-m", "sphinx", "-n", "-W", "--keep-going", "docs", "docs/_build")


@nox.session
def typing(session):
    session.install("-e", ".[report]", "pyright[nodejs]", "mypy")
    session.run("pyright", *TYPED)
    session.run("mypy", "--follow-imports=silent", "--ignore-missing-imports", TYPED[-1])


@nox.session
def measures(session):
    session.install("-e", ".[report]", "pyright[nodejs]")
    session.run("python", "tools/measures.py", "--types")
