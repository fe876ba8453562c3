"""What both services are told by their environment, read once at start.

Names and defaults are documented in docs/settings.md. A service that finds anything wrong refuses to start
and says everything that is wrong at once; a complaint names the setting and what it wants, never the value,
which may be a secret.
"""

import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    NamedTuple,
    NoReturn,
    dataclass_transform,
    get_origin,
    get_type_hints,
)

from metering.placeholders import is_guessable, is_placeholder
from metering.setting_kinds import Range, Secret, reader_of
from metering.store_urls import STORE_URL_WANTED, store_address
from metering.version import told_version

SECRET_CHARACTERS_MIN = 32
SECRET_DISTINCT_CHARACTERS_MIN = 8  # "changeme" repeated is long, and no secret
FORWARDING_HOPS_MAX = 8
SECRET_FILE = "secret"  # nosec B105 # noqa: S105 - the name of a file
LOCAL_DATA = Path(__file__).resolve().parents[1] / "data"  # `../data` as seen from a service's folder
OTHERS_SECRET_CHARACTERS_MIN = 12  # of one that somebody else made for us
FILE_CONFIGURATION = ("budgets.json", "routing.json", "namespace_map.json")

# Switches of what we stand on that make it tell, or keep, what passes through it; hosted, they are off.
# https://flask.palletsprojects.com/en/stable/config/#DEBUG, https://docs.python.org/3/using/cmdline.html,
# https://docs.python.org/3/library/ssl.html#context-creation (SSLKEYLOGFILE),
# https://grpc.github.io/grpc/core/md_doc_environment_variables.html, and google.api_core.client_logging,
# which writes requests to the log; read 2026-11-21.
_DEBUG_SWITCHES = ("debug", "flask_debug")
_DEBUG_SETTINGS = (
    "pythondevmode",
    "pythonasynciodebug",
    "sslkeylogfile",
    "grpc_trace",
    "google_sdk_python_logging_scope",
)
_OFF = frozenset({"0", "false", "no"})  # what Flask takes for no; any other word switches it on


class SettingsRefused(Exception):
    """The settings make no sense. `complaints` says all that is wrong, one line each, without any value."""

    def __init__(self, complaints: list[str]) -> None:
        super().__init__("\n".join(complaints))
        self.complaints = complaints


def _journal(text: str) -> str:
    if text in {"", "stdout", "off"} or (text.startswith("file:") and len(text) > len("file:")):
        return text
    raise ValueError("give stdout, file:<directory> or off")


def _revision(text: str) -> str:
    if re.fullmatch(r"(?:[0-9a-f]{7,40})?", text):
        return text
    raise ValueError("give a commit by 7 to 40 hexadecimal digits")


class Setting(NamedTuple):
    """What a class says of one of its settings."""

    kind: Any
    default: Any


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Settings:
    """Settings read from the environment, whose names are those of the fields, in any case.

    What the constructor is given counts instead of what the environment says. A setting that is empty there
    counts as not given. Raises from the constructor: SettingsRefused.
    """

    def __init__(self, **given: Any) -> None:
        declared = self.declared()
        around = {name.lower(): text for name, text in os.environ.items() if text}
        raw = self._completed({name: around[name] for name in declared if name in around} | given)
        complaints = []
        for name, setting in declared.items():
            value = setting.default
            if name in raw:
                try:
                    value = reader_of(setting.kind)(raw[name])
                except ValueError as error:
                    complaints.append(f"{name.upper()}: {error}")
            vars(self)[name] = value
        vars(self)["_told"] = frozenset(raw)
        complaints += self.complaints()
        if complaints:
            raise SettingsRefused(complaints)

    @classmethod
    def declared(cls) -> dict[str, Setting]:
        """What there is to set, by name; the base's first."""
        return {
            name: Setting(kind, getattr(cls, name))
            for name, kind in get_type_hints(cls, include_extras=True).items()
            if get_origin(kind) is not ClassVar
        }

    def is_told(self, name: str) -> bool:
        """Whether the setting was given, be it as what it is anyway."""
        told: frozenset[str] = vars(self)["_told"]
        return name in told

    def complaints(self) -> list[str]:
        """What does not fit together, one line each."""
        return []

    @classmethod
    def _completed(cls, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """What was given, and what follows from it."""
        return given

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("settings are read once and do not change")


class DeploymentSettings(Settings):
    """Where this deployment keeps its data, and whether it is hosted. Field names are environment names.

    Raises from the constructor: SettingsRefused.
    """

    hashes_keys: ClassVar[bool] = True  # so that it must have the deployment's secret

    k_service: str = ""  # set by Cloud Run
    modeltrack_hosted: bool = False
    data_dir: Path = LOCAL_DATA
    routing_file: Path | None = None
    db_path: Path | None = None
    store_url: str = ""  # filled in from db_path and data_dir
    journal: Annotated[str, _journal] = ""  # hosted stdout, else files in data_dir
    log_level: Literal["debug", "info", "warn", "error"] = "info"
    metrics_port: Annotated[int, Range(1, 65535)] | None = None  # on loopback alone; none: no listener
    forwarding_hops: Annotated[int, Range(0, FORWARDING_HOPS_MAX)] | None = None
    modeltrack_revision: Annotated[str, _revision] = ""  # images set it
    modeltrack_secret: Secret = Secret("")

    firestore_emulator_host: str = ""  # as Google's tools set it
    debug: str = ""
    flask_debug: str = ""
    pythondevmode: str = ""
    pythonasynciodebug: str = ""
    sslkeylogfile: str = ""
    grpc_trace: str = ""
    google_sdk_python_logging_scope: str = ""

    @property
    def is_hosted(self) -> bool:
        """Whether many accounts share this deployment, so that nobody is let in without a key."""
        return self.modeltrack_hosted or bool(self.k_service)

    @property
    def version(self) -> str:
        """What this service tells of its version."""
        return told_version(self.modeltrack_revision)

    @property
    def is_rehearsal(self) -> bool:
        """Whether this is a hosted deployment on an emulator, for a try: never on Cloud Run.

        Its project is named `demo-…`, as no real one is
        (https://firebase.google.com/docs/emulator-suite/connect_firestore, read 2026-11-21).
        """
        is_demo = self.store_url.startswith("firestore://demo-")
        return self.is_hosted and not self.k_service and is_demo and bool(self.firestore_emulator_host)

    @property
    def journal_sink(self) -> str:
        """`stdout`, `off` or `file:<directory>`: where proxies write, and recovery looks."""
        return self.journal or ("stdout" if self.is_hosted else f"file:{self.data_dir}")

    @property
    def hops(self) -> int:
        """How many entries our own front ends append to `X-Forwarded-For`; 0: there is none of ours.

        Hosted without being told: the platform's one.
        """
        return int(self.is_hosted) if self.forwarding_hops is None else self.forwarding_hops

    def complaints(self) -> list[str]:
        """What does not fit together, one line each."""
        found = super().complaints()
        if self.db_path and self.store_url != _sqlite_url(self.db_path):
            found.append("DB_PATH: STORE_URL names another place; set one of the two")
        try:
            store_address(self.store_url)
        except ValueError:
            found.append(f"STORE_URL: give {STORE_URL_WANTED}")
        secret = self.modeltrack_secret.get_secret_value()
        if not secret and self.is_hosted and self.hashes_keys:
            found.append("MODELTRACK_SECRET: required when hosted; every instance has the same one")
        if secret and not _is_secret(secret):
            found.append(
                f"MODELTRACK_SECRET: give at least {SECRET_CHARACTERS_MIN} random characters, none of an"
                " example, for example those that `openssl rand -hex 32` prints"
            )
        if self.is_hosted:
            found += self._complaints_when_hosted()
        return found

    def _complaints_when_hosted(self) -> list[str]:
        found = []
        if not self.store_url.startswith("firestore://"):
            found.append("STORE_URL: a hosted service has no disk; give firestore://<project>[/<database>]")
        found += [
            f"DATA_DIR: {name} is file configuration, which a hosted service does not read; use the API"
            for name in FILE_CONFIGURATION
            if (self.data_dir / name).exists()
        ]
        if self.routing_file:
            found.append("ROUTING_FILE: a hosted service reads no file configuration; use the API")
        if self.journal_sink != "stdout":
            found.append("JOURNAL: a hosted proxy has no disk and must keep its journal; leave it at stdout")
        if self.firestore_emulator_host and not self.is_rehearsal:
            found.append("FIRESTORE_EMULATOR_HOST: hosted, an emulator keeps nothing; leave it out")
        return found + [
            f"{name.upper()}: hosted, it would tell or keep what passes through; leave it out"
            for name in (*_DEBUG_SWITCHES, *_DEBUG_SETTINGS)
            if getattr(self, name) and not (name in _DEBUG_SWITCHES and getattr(self, name).lower() in _OFF)
        ]

    @classmethod
    def _completed(cls, given: Mapping[str, Any]) -> Mapping[str, Any]:
        if given.get("store_url"):
            return given
        path = given.get("db_path") or Path(given.get("data_dir") or LOCAL_DATA) / "modeltrack.db"
        return {**given, "store_url": _sqlite_url(path)}


def complaints_about_secret(name: str, given: Secret, maker: str) -> list[str]:
    """What is wrong with a secret that somebody else made for us; not given is not wrong."""
    secret = given.get_secret_value()
    if not secret:
        return []
    if len(secret) < OTHERS_SECRET_CHARACTERS_MIN or is_placeholder(secret) or is_guessable(secret):
        return [f"{name}: give the one that {maker} made for you, not an example's"]
    return []


def _is_secret(text: str) -> bool:
    """Whether the text can be what keys are hashed under."""
    is_long = len(text) >= SECRET_CHARACTERS_MIN and len(set(text)) >= SECRET_DISTINCT_CHARACTERS_MIN
    return is_long and not is_placeholder(text) and not is_guessable(text)


def _sqlite_url(path: Path | str) -> str:
    return f"sqlite:///{Path(path).absolute()}"


def deployment_secret(settings: DeploymentSettings) -> bytes:
    """The secret that keys are hashed under.

    Self-hosted without MODELTRACK_SECRET it is made once, in a file of DATA_DIR that only its owner reads,
    and is the same for both services from then on.
    Raises: SettingsRefused when that file cannot be had or holds no secret.
    """
    given = settings.modeltrack_secret.get_secret_value()
    if given:
        return given.encode()
    path = settings.data_dir / SECRET_FILE
    try:
        if not path.exists():
            _make_secret(path)
        kept = path.read_bytes()
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise SettingsRefused([f"DATA_DIR: the secret cannot be kept there ({why})"]) from error
    if len(kept) < SECRET_CHARACTERS_MIN:
        raise SettingsRefused([f"DATA_DIR: {SECRET_FILE} is damaged; restore it, or all keys are void"])
    return kept


def _make_secret(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_hex(32).encode())
        os.link(draft, path)
    except FileExistsError:
        return  # the other service was faster; its secret counts
    finally:
        draft.unlink()
