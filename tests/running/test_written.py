"""Files that are written: whole or not at all, through links, with the mode they had."""

import ast
import contextlib
import os
import stat
import sys
import tempfile
import threading
from pathlib import Path

import pytest

import sklearn_ltdl
from sklearn_ltdl.cli import main
from sklearn_ltdl.running import _written
from sklearn_ltdl.running._written import write_whole

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="modes and links of POSIX")
PACKAGE = Path(sklearn_ltdl.__file__).parent


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@contextlib.contextmanager
def full_disk(size):
    """No file of this process may grow beyond a size."""
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@contextlib.contextmanager
def nobody():
    """Root may write everywhere; become nobody."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.fixture
def open_folder():
    """A folder that nobody can reach; those of pytest are for their owner only."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


@pytest.mark.parametrize(("umask", "expected"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_new_file_has_the_mode_of_the_umask(umask, expected, tmp_path):
    before = os.umask(umask)
    try:
        write_whole(tmp_path / "new", "text")
    finally:
        os.umask(before)
    assert mode(tmp_path / "new") == expected


@pytest.mark.parametrize("kept", [0o600, 0o640, 0o664, 0o444])
def test_a_file_keeps_its_mode(kept, tmp_path):
    path = tmp_path / "old"
    path.write_text("old")
    path.chmod(kept)
    write_whole(path, "größe")
    assert path.read_bytes() == "größe".encode()
    assert mode(path) == kept


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may give files away")
def test_a_file_keeps_its_owner_and_group_or_the_group_gets_no_more_than_all(open_folder):
    path = open_folder / "old"
    for user, changed in ((0, 0o640), (65534, 0o600)):
        path.write_text("old")
        os.chown(path, 1234, 4321)
        path.chmod(0o640)
        with nobody() if user else contextlib.nullcontext():
            write_whole(path, b"new")
        status = path.stat()
        assert path.read_bytes() == b"new"
        assert stat.S_IMODE(status.st_mode) == changed
        assert (status.st_uid, status.st_gid) == ((1234, 4321) if user == 0 else (65534, 0))
        path.unlink()


def test_links_are_followed_and_stay(tmp_path):
    (tmp_path / "models").mkdir()
    target, link, second = tmp_path / "models" / "one.skops", tmp_path / "latest.skops", tmp_path / "link"
    target.write_bytes(b"old")
    target.chmod(0o600)
    link.symlink_to(Path("models") / "one.skops")
    second.symlink_to("latest.skops")
    write_whole(second, b"new")
    assert second.is_symlink()
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert mode(target) == 0o600
    target.unlink()  # a link to nothing
    write_whole(link, b"newer")
    assert link.is_symlink()
    assert target.read_bytes() == b"newer"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["latest.skops", "link", "models", "one.skops"]


def test_a_loop_of_links_and_a_link_into_a_folder_that_is_not_there_are_named(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "c").symlink_to(Path("nowhere") / "file")
    for name in ("a", "c"):
        with pytest.raises(OSError, match=rf"{tmp_path / name}: cannot be written \(.*name a file in a folder that"):
            write_whole(tmp_path / name, b"new")
        assert (tmp_path / name).is_symlink()


def test_a_planted_name_is_not_written_through(tmp_path, monkeypatch):
    precious, path = tmp_path / "precious", tmp_path / "v.json"
    precious.write_text("precious")
    (tmp_path / f"v.json.{os.getpid()}.part").symlink_to(precious)  # the name of earlier versions
    write_whole(path, "new")
    assert not path.is_symlink()
    monkeypatch.setattr(_written, "token_hex", lambda size: "guessed")  # even if it could be guessed
    (tmp_path / ".guessed.part").symlink_to(precious)
    with pytest.raises(FileExistsError, match=r"v\.json: cannot be written"):
        write_whole(path, "newer")
    assert precious.read_text() == "precious"
    assert path.read_text() == "new"
    assert (tmp_path / ".guessed.part").is_symlink()  # which is not ours


@pytest.mark.parametrize("size", [0, 10, 60_000])
def test_a_full_disk_leaves_the_old_file_and_says_what_to_do(size, tmp_path):
    path = tmp_path / "out.json"
    path.write_text("old")
    message = rf"{path}: cannot be written \(File too large\)\. .* is unchanged\. To continue, free some space"
    with full_disk(size), pytest.raises(OSError, match=message):
        write_whole(path, "new" * 30_000)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interruption_while_writing_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "out.json"
    path.write_text("old")

    def interrupted(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_read_only_leaves_the_old_file(open_folder):
    path = open_folder / "out.json"
    path.write_text("old")
    path.chmod(0o666)
    open_folder.chmod(0o555)
    with nobody(), pytest.raises(PermissionError, match=rf"{path}: cannot be written \(Permission denied\)\. An"):
        write_whole(path, "new")
    assert path.read_text() == "old"


def test_devices_and_pipes_are_written_to_and_stay(tmp_path):
    write_whole(os.devnull, "new")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)
    os.mkfifo(tmp_path / "pipe")
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_text()))
    read = []
    reader.start()
    write_whole(tmp_path / "pipe", "new")
    reader.join(timeout=60)
    assert read == ["new"]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_the_longest_names_can_be_written(tmp_path):
    path = tmp_path / ("n" * 255)
    write_whole(path, "new")
    assert path.read_text() == "new"


def test_the_command_writes_through_links_and_keeps_modes(tmp_path):
    options = ["--models", "linear", "--cv", "2", "--n-jobs", "1"]
    names = ["out.json", "out.html", "out.skops", "run.jsonl"]
    (tmp_path / "there").mkdir()
    for name in names:
        (tmp_path / name).symlink_to(tmp_path / "there" / name)
        if name != "run.jsonl":
            (tmp_path / "there" / name).touch(mode=0o600)
        options += [{"html": "--html", "json": "--json", "skops": "--save", "jsonl": "--journal"}[name.split(".")[1]]]
        options += [str(tmp_path / name)]
    assert main(["compare", "diabetes", *options]) == 0
    for name in names:
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / "there" / name).stat().st_size > 1000
    assert [mode(tmp_path / "there" / name) for name in names[:3]] == [0o600] * 3


def test_the_command_names_the_file_that_a_full_disk_cut(tmp_path, capsys):
    path = tmp_path / "out.json"
    path.write_text("old")
    options = ["--models", "linear", "--cv", "2", "--n-jobs", "1", "--json", str(path)]
    with full_disk(4000):
        assert main(["compare", "diabetes", *options]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"ltdl compare: {path}: cannot be written (File too large). An existing file is unch")
    assert path.read_text() == "old"


def calls(file):
    """Return the names of the functions and methods that a file calls."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


@pytest.mark.parametrize("file", sorted((PACKAGE / "study").glob("*.py")), ids=lambda file: file.name)
def test_one_module_writes_files_and_one_prints(file):
    writing, found = {"write_text", "write_bytes", "NamedTemporaryFile", "mkstemp"}, set(calls(file))
    assert file.name == "_written.py" or not found & writing
    if file.name != "_terminal.py":
        names = {node.func.id for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
                 if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}  # fmt: skip
        assert "print" not in names
