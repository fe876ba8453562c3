"""cloudbuild.yaml: its steps, in their order, run here as Cloud Build would run them."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from infra.release import __main__ as command
from infra.release.services import ALL, API, PROXY
from tests.release.checkout import BUILD_ID, ROOT, Checkout, build, replaced, substitutions
from tests.release.cloud import DIGESTS, IMAGES, REPOSITORY, Cloud
from tests.release.sites import COMMIT, KEY, PROVIDER_KEY, Answer, api, proxy, series, serving

ORDER = ["pins", "audit", "emulators", "test", "build", "scan", "push", "deploy", "smoke", "shift"]
BUILT_IN = {
    "PROJECT_ID",
    "BUILD_ID",
}  # https://cloud.google.com/build/docs/configuring-builds/substitute-variable-values
CANARY = {"_CANARY_PROVIDER_SECRET": "providers-key"}


def run_all(checkout: Checkout, new: Answer | None = None) -> Mapping[str, int]:
    """Run steps until one fails, as Cloud Build does; what each ended with. `new`: what Monitoring counts."""
    ended: dict[str, int] = {}
    with ExitStack() as sites:
        at = {
            "_PROXY_ADDRESS": sites.enter_context(serving(proxy)),
            "_API_ADDRESS": sites.enter_context(serving(api)),
        }
        monitoring = sites.enter_context(serving(lambda _: new or Answer(200, {})))
        assert command.main(["write-pins"]) == 0
        for name in [each for each in ORDER if each not in {"audit", "emulators", "test"}]:
            further = [f"--monitoring-url={monitoring}"] if name == "shift" else []
            ended[name], _ = checkout.run_step(name, *further, **at, **CANARY, _REVISION=COMMIT)
            if ended[name]:
                break
    return ended


@pytest.fixture(autouse=True)
def secrets(cloud: Cloud) -> None:
    """The keys that releases call with."""
    cloud.secrets = {"modeltrack-canary-key": KEY, "providers-key": PROVIDER_KEY}


def test_the_steps_stand_in_their_order_and_none_may_fail() -> None:
    steps = build()["steps"]

    assert [step["id"] for step in steps] == ORDER
    for step in steps:  # one after the other, and the first that fails ends the build
        assert not step.keys() & {"waitFor", "allowFailure", "allowExitCodes"}, step["id"]


def test_every_script_that_a_step_runs_is_there_and_is_a_program() -> None:
    for step in build()["steps"]:
        for word in step["args"]:
            if re.fullmatch(r"(?:infra|\.ci)/[\w./-]+", word):
                assert (ROOT / word).is_file(), word
                assert (ROOT / word).stat().st_mode & 0o111, word


def test_substitutions_are_declared_and_all_of_them_are_used() -> None:
    read = build()
    declared = set(read["substitutions"])
    text = (ROOT / "cloudbuild.yaml").read_text()
    body = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    used = set(re.findall(r"\$\{(\w+)\}", body))

    assert used - BUILT_IN == declared
    assert not re.findall(r"\$[A-Z_]", body)  # one way to write them
    for step in read["steps"]:
        for word in step["args"]:
            replaced(word, substitutions())


def test_what_tests_ask_git_is_answered_in_a_build_too() -> None:
    left_behind = [line for line in (ROOT / ".gcloudignore").read_text().splitlines() if line[:2] != "# "]
    step = next(each for each in build()["steps"] if each["id"] == "test")

    assert left_behind[0] == "#!include:.gitignore"
    assert ".git/" not in left_behind  # which it would be without such a file, too
    assert {"GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=/workspace"} <= set(step["env"])


def test_no_secret_of_a_checkout_goes_to_a_build_and_git_answers_all_the_same(tmp_path: Path) -> None:
    if shutil.which("gcloud") is None:
        pytest.skip("gcloud is not installed: https://cloud.google.com/sdk/docs/install")
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.com", "-C", str(tmp_path)]
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    secret = (".env", ".env.production", "infra/terraform.tfvars", "infra/own.auto.tfvars", "infra/a.tfplan")
    for name in (*secret, "kept.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    for name in (".gcloudignore", ".gitignore"):
        shutil.copy(ROOT / name, tmp_path)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "x"], check=True)

    sent = subprocess.run(
        ["gcloud", "meta", "list-files-for-upload", tmp_path], capture_output=True, text=True, check=True
    ).stdout.split()

    assert {"kept.txt", ".git/HEAD", ".git/index"} <= set(sent)
    assert not {*secret, ".git/config", ".git/logs/HEAD"} & set(sent)
    for left in (path for path in tmp_path.rglob("*") if path.is_file()):
        if str(left.relative_to(tmp_path)) not in sent:
            left.unlink()
    listed = subprocess.run([*git, "ls-files"], capture_output=True, text=True, check=True).stdout.split()
    assert listed == [".gcloudignore", ".gitignore", "kept.txt"]


def test_the_emulators_are_put_where_tests_look_for_them(tmp_path: Path) -> None:
    script = next(step["args"] for step in build()["steps"] if step["id"] == "emulators")
    test = next(step for step in build()["steps"] if step["id"] == "test")
    assert f"CLOUDSDK_ROOT=/workspace/{script[1]}" in test["env"]
    if shutil.which("gcloud") is None:
        pytest.skip("gcloud is not installed: https://cloud.google.com/sdk/docs/install")

    done = subprocess.run([ROOT / script[0], tmp_path], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "platform/cloud-firestore-emulator/cloud-firestore-emulator.jar").is_file()
    assert list(tmp_path.glob("platform/pubsub-emulator/lib/cloud-pubsub-emulator-*-all.jar"))


def test_a_release_needs_nothing_but_the_standard_library() -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-m", "infra.release", "--help"],  # without whatever is installed
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")


def test_every_secret_stays_out_of_the_file() -> None:
    assert "secretEnv" not in (ROOT / "cloudbuild.yaml").read_text()
    assert build()["substitutions"]["_CANARY_SECRET"] == "modeltrack-canary-key"


def test_a_release_goes_through_all_steps(
    checkout: Checkout, cloud: Cloud, capfd: pytest.CaptureFixture[str]
) -> None:
    ended = run_all(checkout)

    printed = "".join(capfd.readouterr())
    assert set(ended.values()) == {0}, printed
    for service in ALL:
        run = cloud.services[service.name]
        assert run.split == {f"{service.name}-00002": 100}
        assert run.revisions[f"{service.name}-00002"] == IMAGES[service.image]
        assert f"update-traffic {service.name} " in printed  # how to go back
    assert KEY not in printed
    assert PROVIDER_KEY not in printed


def test_nothing_is_deployed_or_run_by_a_tag(checkout: Checkout, cloud: Cloud) -> None:
    run_all(checkout)

    deployed = [word for words in cloud.calls for word in words if word.startswith("--image=")]
    assert deployed
    assert all(re.search(r"@sha256:[0-9a-f]{64}$", word) for word in deployed)
    built = [words for words in cloud.calls if words[:2] == ["docker", "build"]]
    assert all(re.search(r"PYTHON_IMAGE=\S+@sha256:[0-9a-f]{64} ", " ".join(words)) for words in built)
    names = re.findall(r"^    name: (.+)$", Path("cloudbuild.yaml").read_text(), re.MULTILINE)
    assert all(re.search(r"@sha256:[0-9a-f]{64}$", name) for name in names)


def test_both_images_are_scanned_before_either_is_pushed(checkout: Checkout, cloud: Cloud) -> None:
    run_all(checkout)

    told = [" ".join(words) for words in cloud.calls]
    scans = [number for number, words in enumerate(told) if "images scan" in words]
    pushes = [number for number, words in enumerate(told) if words.startswith("docker push")]
    assert len(scans) == len(pushes) == len(DIGESTS)
    assert max(scans) < min(pushes)


def critical(has_fix: bool) -> dict[str, object]:
    return {
        "noteName": "projects/goog-vulnz/notes/CVE-2026-1",
        "vulnerability": {"effectiveSeverity": "CRITICAL", "fixAvailable": has_fix,
                          "packageIssue": [{"affectedPackage": "openssl"}]},
    }  # fmt: skip


def not_pinned(cloud: Cloud) -> None:
    Path("requirements/images.txt").unlink()


def vulnerable(cloud: Cloud) -> None:
    cloud.weaknesses = {"/api:": [critical(has_fix=True)]}


def no_key(cloud: Cloud) -> None:
    cloud.secrets = {}


def fails_when(*told: str) -> Callable[[Cloud], None]:
    """A command that holds those words fails."""

    def spoil(cloud: Cloud) -> None:
        cloud.fails = lambda _, words: "before" if all(word in " ".join(words) for word in told) else ""

    return spoil


FAULTS: dict[str, tuple[str, Callable[[Cloud], None]]] = {
    "an image is not pinned": ("pins", not_pinned),
    "a build fails": ("build", fails_when("docker build", "api_service")),
    "a scan fails": ("scan", fails_when("images scan", "/proxy:")),
    "an image is vulnerable": ("scan", vulnerable),
    "a push fails": ("push", fails_when("docker push", "/api:")),
    "a function is not deployed": ("deploy", fails_when("services update modeltrack-erase")),
    "the proxy is not deployed": ("deploy", fails_when("services update modeltrack-proxy")),
    "there is no key for a call": ("smoke", no_key),
    "a shift fails": ("shift", fails_when("update-traffic modeltrack-api", "=50")),
    "a function does not run": ("shift", fails_when("jobs run modeltrack-check")),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_release_ends_where_something_fails_and_what_served_serves(
    fault: str, checkout: Checkout, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, spoil = FAULTS[fault]
    served = cloud.who_serves()
    monkeypatch.setitem(command._STEPS, "pins", _spoiling(spoil, cloud))

    ended = run_all(checkout)

    assert list(ended)[-1] == step
    assert ended[step] != 0
    assert cloud.who_serves() == served
    assert [cloud.services[each.name].tags for each in (API, PROXY)] == [{}, {}]  # nor does anybody try it


def _spoiling(spoil: Callable[[Cloud], None], cloud: Cloud) -> Callable[..., None]:
    check = command._STEPS["pins"]

    def spoiled(*asked: object) -> None:
        spoil(cloud)
        check(*asked)  # type: ignore[arg-type]

    return spoiled


def test_a_revision_that_fails_callers_loses_its_traffic(
    checkout: Checkout, cloud: Cloud, capfd: pytest.CaptureFixture[str]
) -> None:
    served = cloud.who_serves()
    bad, good = series(f"{PROXY.name}-00002", "5xx", 30), series(f"{PROXY.name}-00001", "2xx", 900)

    ended = run_all(checkout, Answer(200, {"timeSeries": [bad, good]}))

    assert ended["shift"] == 1
    assert f"{PROXY.name}-00002 answers worse than {PROXY.name}-00001" in capfd.readouterr().err
    assert cloud.who_serves() == served


@pytest.mark.parametrize("step", ["deploy", "smoke", "shift"])
def test_the_first_release_may_end_with_the_push(step: str, checkout: Checkout, cloud: Cloud) -> None:
    assert checkout.run_step(step, _PUSH_ONLY="true") == (0, "nothing is deployed: _PUSH_ONLY\n")
    assert not cloud.calls


def test_a_word_that_is_neither_true_nor_false_deploys_nothing(checkout: Checkout, cloud: Cloud) -> None:
    status, said = checkout.run_step("deploy", _PUSH_ONLY="yes")

    assert (status, said) == (1, "_PUSH_ONLY: give true or false\n")
    assert not cloud.calls


def test_both_are_built_on_the_pinned_base_and_know_their_commit(checkout: Checkout, cloud: Cloud) -> None:
    assert checkout.run_step("build", _REVISION="c" * 40)[0] == 0

    for words, image in zip(cloud.calls, ("proxy", "api"), strict=True):
        assert words[2:4] == ["-t", f"{REPOSITORY}/{image}:{BUILD_ID}"]
        assert f"REVISION={'c' * 40}" in words
        assert words[-2:] == [f"{image}_service/Dockerfile", "."]


def test_nothing_is_built_on_a_base_without_a_digest(checkout: Checkout, cloud: Cloud) -> None:
    not_pinned(cloud)

    status, said = checkout.run_step("build")

    assert status != 0
    assert "make pin-images" in said
    assert not cloud.calls


def test_a_push_leaves_the_digests_that_this_repository_has(checkout: Checkout) -> None:
    assert checkout.run_step("push")[0] == 0

    for image, named in IMAGES.items():
        assert (checkout.folder / ".make/release" / f"{image}.image").read_text() == f"{named}\n"


def test_a_push_without_a_digest_is_a_failure(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(IMAGES, "api", "elsewhere.example/api@sha256:" + "d" * 64)

    status, said = checkout.run_step("push")

    assert status != 0
    assert "by which digest it keeps api" in said


def test_steps_do_not_run_without_what_those_before_them_leave(
    checkout: Checkout, cloud: Cloud, capfd: pytest.CaptureFixture[str]
) -> None:
    assert [checkout.run_step(step)[0] for step in ("deploy", "smoke", "shift")] == [1, 1, 1]
    assert capfd.readouterr().err.count("has not run") == 3
    assert not cloud.calls


def test_at_other_addresses_nothing_is_tried_without_a_commit(
    checkout: Checkout, capfd: pytest.CaptureFixture[str]
) -> None:
    assert checkout.run_step("smoke", _PROXY_ADDRESS="https://proxy.example.com")[0] == 1
    assert "give _REVISION" in capfd.readouterr().err


def test_a_build_that_is_cancelled_puts_the_traffic_back(checkout: Checkout, cloud: Cloud) -> None:
    served = cloud.who_serves()
    run = {"PATH": f"{checkout.programs}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    assert [checkout.run_step(name)[0] for name in ("push", "deploy")] == [0, 0]
    moved = threading.Event()
    cloud.after = lambda words: moved.set() if "jobs" in words else None

    with serving(lambda _: Answer(200, {})) as monitoring:
        words = ["shift", "--project=p", "--region=r", f"--monitoring-url={monitoring}"]
        with subprocess.Popen([sys.executable, "-m", "infra.release", *words], env=run, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as shifting:  # fmt: skip
            is_moved = moved.wait(30)
            shifting.terminate()
            said, _ = shifting.communicate(timeout=30)

    assert is_moved, said
    assert shifting.returncode == 128 + signal.SIGTERM, said
    assert "modeltrack-recover: all to modeltrack-recover-00001 again" in said
    assert cloud.who_serves() == served
