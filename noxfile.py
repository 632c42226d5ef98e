"""Environments to test in: ``nox -s tests``, ``nox -s oldest`` (the oldest libraries supported), ``nox -s lint``."""

import nox

nox.options.sessions = ["tests", "lint"]
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
