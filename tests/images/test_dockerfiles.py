"""What both Dockerfiles promise to a careful reader, and what a build is sent."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.images.base import VERSION_OF_BASE
from tests.images.conftest import SERVICES
from tests.images.dockerfile import Stage, arguments_before_stages, context_of, stages_of
from tests.images.replay import ROOT

BUILT_FROM = ("metering/", "proxy_service/", "api_service/", "requirements/proxy.txt", "requirements/api.txt")


def text_of(service: str) -> str:
    return (ROOT / f"{service}_service/Dockerfile").read_text()


def final_stage(service: str) -> Stage:
    return stages_of(text_of(service))[-1]


@pytest.mark.parametrize("service", SERVICES)
def test_every_stage_stands_on_the_pinned_base_which_has_no_default(service: str) -> None:
    assert arguments_before_stages(text_of(service)) == ["PYTHON_IMAGE"]
    assert {stage.base for stage in stages_of(text_of(service))} == {"${PYTHON_IMAGE}"}


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_runs_as_a_user_by_number_who_is_not_root(service: str) -> None:
    (user,) = final_stage(service).all("USER")

    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user.text)


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_started_is_started_by_itself_and_not_by_a_shell(service: str) -> None:
    stage = final_stage(service)
    (entry_point,), (check,) = stage.all("ENTRYPOINT"), stage.all("HEALTHCHECK")

    assert entry_point.words == ["/venv/bin/python", "-m", f"{service}_service"]
    assert check.text.startswith('CMD ["python", ')
    assert [each.text for each in stage.all("STOPSIGNAL")] == ["SIGTERM"]


@pytest.mark.parametrize("service", SERVICES)
def test_packages_come_by_their_hashes_in_a_stage_that_is_left_behind(service: str) -> None:
    build, final = stages_of(text_of(service))
    (install,) = (each.text for each in build.all("RUN") if " install " in each.text)

    assert {"--require-hashes", "--no-deps", "--only-binary", "--no-cache-dir"} <= set(install.split())
    assert f"COPY requirements/{service}.txt " in text_of(service)
    assert all(each.text.startswith("rm -rf ") for each in final.all("RUN"))
    assert all(each.flags["from"] == "build" for each in final.all("COPY"))


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_tells_what_it_is_and_of_which_commit(service: str) -> None:
    labels = {
        word.partition("=")[0].removeprefix("org.opencontainers.image.")
        for each in final_stage(service).all("LABEL")
        for word in each.words
    }

    assert labels == {"title", "description", "licenses", "base.name", "revision"}
    (settings,) = final_stage(service).all("ENV")
    assert "MODELTRACK_REVISION=${REVISION}" in settings.words  # and `GET /health` of what runs in it


def test_the_images_are_tried_on_the_python_that_they_have() -> None:
    (base,) = re.findall(
        r"^python .*/python:(\S+)$", (ROOT / "requirements/images.in").read_text(), re.MULTILINE
    )

    assert base.startswith(".".join(map(str, VERSION_OF_BASE)) + "-")


def test_a_build_is_sent_what_images_hold_and_nothing_else() -> None:
    context = context_of(ROOT)
    kept = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    sent = [path for path in kept if context.holds(path)]

    assert all(path.startswith(BUILT_FROM) for path in sent)
    assert {
        "metering/price_table.json",
        "requirements/api.txt",
        "api_service/dashboard/static/app.js",
    } <= set(sent)
    assert [path for path in kept if path.startswith(BUILT_FROM) and path not in sent] == [
        "api_service/Dockerfile",
        "api_service/dashboard/vendoring.py",
        "metering/price_compiler.py",
        "metering/price_overlay.toml",
        "proxy_service/Dockerfile",
    ]


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        ".env",
        "data/secret",
        "data/modeltrack.db",
        "api_service/.env",
        "api_service/.env.production",
        "proxy_service/data/modeltrack.db-wal",
        "proxy_service/tls/server.key",
        "metering/__pycache__/money.cpython-312.pyc",
    ],
)
def test_no_secret_history_or_bytecode_of_a_checkout_is_sent(path: str) -> None:
    assert not context_of(ROOT).holds(path)


@pytest.mark.parametrize(
    ("rules", "path", "is_sent"),
    [
        ("*\n!a", "a/b.py", True),
        ("*\n!a", "b.py", False),
        ("*\n!a\n**/x", "a/c/x/d", False),
        ("*\n!a\na/x.py", "a/x.py", False),
        ("*\n!a/b.txt", "a/c.txt", False),
        ("*\n!a/b.txt", "a/b.txt", True),
        ("*.pyc", "a/b.pyc", True),
        ("**/*.pyc", "a/b.pyc", False),
    ],
)
def test_the_last_rule_that_fits_decides(tmp_path: Path, rules: str, path: str, *, is_sent: bool) -> None:
    (tmp_path / ".dockerignore").write_text(rules)

    assert context_of(tmp_path).holds(path) is is_sent


@pytest.mark.parametrize("line", ["ADD https://example.com/x /x", 'SHELL ["bash"]', "RUN <<EOF", "from x"])
def test_what_the_reader_does_not_know_is_refused_and_not_passed_over(line: str) -> None:
    with pytest.raises(ValueError, match="does not know"):
        stages_of(f"FROM x\n{line}\n")


def test_lines_are_joined_and_comments_left_out() -> None:
    (stage,) = stages_of(
        "# a\nARG B\nFROM ${B} AS c\nRUN one \\\n# between\n && two\nCOPY --from=c --chown=1:1 /a /b\n"
    )

    assert (stage.name, stage.base) == ("c", "${B}")
    assert stage.all("RUN")[0].text.split() == ["one", "&&", "two"]
    assert stage.all("COPY")[0].flags == {"from": "c", "chown": "1:1"}
