"""Environments to test in: ``nox -s tests``, ``nox -s oldest newest`` (the ends of the range), ``nox -s lint``."""

import nox

nox.options.sessions = ["tests", "lint", "typing"]
OLDEST = ["scikit-learn==1.8.*", "jax==0.8.*", "jaxlib==0.8.*"]
# Where another Python or another library shows: estimators, conventions, hostile input, `compare`; without what is slow
# and of this package's own formulas, which the whole suite tests.
ENDS = [
    *(f"tests/test_{name}.py" for name in ("estimators", "conventions", "hostile", "door")),
    *(f"tests/study/test_{name}.py" for name in ("study", "verdict")),
]


@nox.session(python=["3.11", "3.12", "3.13"])
def tests(session):
    session.install("-e", ".[test]")
    session.run("python", "-m", "pytest", "-q", "-n", "2", *session.posargs)


def end(session, *libraries):
    """Run the tests of both ends of the supported range; without bytecode an installation takes half the time."""
    session.install("--no-compile", "-e", ".[test]", *libraries)
    session.run("python", "-m", "pytest", "-q", "-n", "2", "-m", "not slow", *(session.posargs or ENDS))


@nox.session(python="3.11")
def oldest(session):
    end(session, *OLDEST)


@nox.session(python="3.13")
def newest(session):
    end(session)


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
    session.run("pyright")
    session.run("mypy", "--follow-imports=silent", "--ignore-missing-imports", "tests/typing/user_code.py")


@nox.session
def measures(session):
    session.install("-e", ".[report]", "pyright[nodejs]")
    session.run("python", "tools/measures.py", "--types")
