"""A secret in any file that git has, or would take, is told of by its place alone."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from metering.keys import new_ingress_id, new_key
from tests.secrecy.scan import SEEN, exceptions, main

Scan = Callable[[], tuple[int, str]]
WORDS = '[[words]]\nwhy = "{why}"\nare = ["{word}"]\n'
PASSWORD = 'password = "{word}"\n'  # of a form that is looked for; what stands there is made in the tests
MADE_UP = "o7vK" + "2pQ9zLmX4tRb"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    subprocess.run(["git", "init", "-q", folder], check=True)
    (folder / ".gitignore").write_text(".make/\n.env\n")
    return folder


@pytest.fixture
def scan(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Scan:
    (tmp_path / "none.toml").write_text("")

    def run() -> tuple[int, str]:
        return main(root, tmp_path / "none.toml"), capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    "secret",
    [
        PASSWORD.format(word=MADE_UP),
        f"curl -H 'X-ModelTrack-Key: {new_key()}'",
        f"https://proxy.example.com/ws/{new_ingress_id()}/v1/messages",
        "sk-ant-" + "api03-" + "aB3_" * 12,
        "AKIA" + "QWERTYUIOP234567",
        "-----BEGIN " + "RSA PRIVATE KEY-----",
        "https://ada:" + "o7vK2pQ9@example.com/",
    ],
    ids=["password", "key", "ingress", "anthropic", "aws", "private key", "address"],
)
@pytest.mark.parametrize("name", ["kept.py", "docs/a.md", "settings"])
def test_a_planted_secret_is_told_of_by_its_place_alone(
    root: Path, scan: Scan, name: str, secret: str
) -> None:
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_text(f"one line\n{secret}\n")

    status, told = scan()

    assert (status, told.splitlines()[0].startswith(f"{name}:2: ")) == (1, True)
    assert secret not in told
    assert MADE_UP not in told


def test_what_git_does_not_take_is_nobodys_business(root: Path, scan: Scan) -> None:
    (root / ".env").write_text(PASSWORD.format(word=MADE_UP))

    assert scan() == (0, "")


def test_a_key_that_is_made_up_is_none(root: Path, scan: Scan) -> None:
    (root / "a.md").write_text(f"X-ModelTrack-Key: mt_{'0' * 72}\n/ws/{'a' * 40}/v1\n")

    assert scan() == (0, "")


def test_what_is_on_the_list_is_let_be_and_what_no_longer_stands_anywhere_is_told(
    root: Path, scan: Scan, tmp_path: Path
) -> None:
    (root / "a.py").write_text(PASSWORD.format(word=MADE_UP))
    (tmp_path / "none.toml").write_text(WORDS.format(why="made up", word=MADE_UP))
    assert scan() == (0, "")

    (root / "a.py").write_text("nothing\n")

    status, told = scan()
    assert (status, "nothing is found any more" in told) == (1, True)


def test_a_file_is_looked_at_anew_once_it_or_the_list_has_changed(
    root: Path, scan: Scan, tmp_path: Path
) -> None:
    (root / "a.py").write_text("nothing\n")
    assert scan()[0] == 0
    (root / "a.py").write_text(PASSWORD.format(word=MADE_UP))
    assert [scan()[0], scan()[0]] == [1, 1]  # what was found is not remembered as seen
    (tmp_path / "none.toml").write_text(WORDS.format(why="made up", word=MADE_UP))
    assert scan()[0] == 0

    (tmp_path / "none.toml").write_text("")

    assert scan()[0] == 1


def test_what_was_found_is_written_nowhere(root: Path, scan: Scan) -> None:
    (root / "a.py").write_text(PASSWORD.format(word=MADE_UP))

    scan()

    assert MADE_UP not in (root / SEEN).read_text()


@pytest.mark.parametrize("why", ["", "  "])
def test_an_exception_says_why(tmp_path: Path, why: str) -> None:
    (tmp_path / "none.toml").write_text(WORDS.format(why=why, word="x"))

    with pytest.raises(ValueError, match="say why"):
        exceptions(tmp_path / "none.toml")


def test_where_git_cannot_say_what_there_is_nothing_is_called_clean(tmp_path: Path) -> None:
    (tmp_path / "none.toml").write_text("")

    with pytest.raises(subprocess.CalledProcessError):
        main(tmp_path, tmp_path / "none.toml")
