"""`make run`: everything on this machine, ready to try, until Ctrl-C.

    python -m demo.run

Starts the demo provider (127.0.0.1:8090), the proxy (:8080) and the API (:3001), makes a demo account when
there is none yet, and prints its key and lines to paste. Settings come from the environment and reach both
services: STORE_URL, DATA_DIR, LOG_LEVEL and the others of docs/settings.md; besides

    UPSTREAM=real                          talk to the real providers instead of the demo one; their calls
                                           are kept apart, in ./data/real, unless DATA_DIR says otherwise
    PROXY_PORT, PORT, DEMO_PORT            other ports for the proxy, the API and the demo provider
    STORE_URL=firestore://demo-modeltrack  use the Firestore emulator, started unless it runs
"""

import errno
import http.client
import json
import os
import queue
import secrets
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http import HTTPStatus
from pathlib import Path

import msgspec

from api_service.functions.settings import FunctionSettings
from api_service.settings import ApiSettings
from demo.catalogue import AZURE_DEPLOYMENTS
from demo.children import STOP_SECONDS, Child, ChildDied, answers
from demo.emulator import EmulatorMissing, running_emulator
from metering.accounts import LOCAL_ACCOUNT_ID, AzureSettings
from metering.clock import Clock, SystemClock
from metering.directory import Directory, KeyTerms
from metering.errors import StoreError
from metering.keys import Scope
from metering.opening import open_store
from metering.settings import LOCAL_DATA, DeploymentSettings, SettingsRefused, deployment_secret
from proxy_service.settings import ProxySettings

EMAIL = "demo@example.com"
KEY_NAME = "make run"
KEY_SCOPES: tuple[Scope, ...] = ("proxy", "read", "write", "stats")
REAL_DATA = LOCAL_DATA / "real"
RULES = Path(__file__).resolve().parents[1] / "firestore.rules"
DEFAULT_PORTS = {"PROXY_PORT": 8080, "PORT": 3001, "DEMO_PORT": 8090}
DEMO_KEYS_KEPT = 20
READY_SECONDS = 30.0
_POLL_SECONDS = 0.05
_LOOK_SECONDS = 0.5
_HOST = "127.0.0.1"


class CannotStart(Exception):
    """Why nothing was started, in lines that say what to do."""


class AskedToStop(Exception):
    """Somebody pressed Ctrl-C or sent SIGTERM before everything was ready."""


class Plan(msgspec.Struct, frozen=True):
    """What is started, where."""

    proxy_port: int
    api_port: int
    demo_port: int | None  # None: the real providers
    data_dir: Path

    @property
    def proxy_url(self) -> str:
        """Where callers reach the proxy."""
        return f"http://{_HOST}:{self.proxy_port}"

    @property
    def api_url(self) -> str:
        """Where people and programs reach the API."""
        return f"http://{_HOST}:{self.api_port}"

    @property
    def demo_url(self) -> str:
        """Where the demo provider listens."""
        return f"http://{_HOST}:{self.demo_port}"


def plan_from(environment: Mapping[str, str], complaints: Sequence[str] = ()) -> Plan:
    """What the environment asks for.

    Raises: CannotStart with everything that is wrong, a line each, the services' own `complaints` included.
    """
    upstream = environment.get("UPSTREAM", "") or "demo"
    wrong = [] if upstream in {"demo", "real"} else ["UPSTREAM: give demo or real"]
    ports: dict[str, int] = {}
    for name, default in DEFAULT_PORTS.items():
        given = environment.get(name) or str(default)
        if given.isdecimal() and 1 <= int(given) <= 65535:
            ports[name] = int(given)
        elif name != "DEMO_PORT" or upstream != "real":
            wrong.append(f"{name}: give a port between 1 and 65535")
    if upstream == "real":
        ports.pop("DEMO_PORT", None)
    if len(set(ports.values())) < len(ports):
        wrong.append(f"{', '.join(DEFAULT_PORTS)}: give three different ports")
    if environment.get("METRICS_PORT"):
        wrong.append("METRICS_PORT: one port is not for two services; here each tells /metrics on its own")
    named = {line.partition(":")[0] for line in wrong}
    wrong += [line for line in complaints if line.partition(":")[0] not in named]
    if wrong:
        raise CannotStart("\n".join(wrong))
    return Plan(
        proxy_port=ports["PROXY_PORT"],
        api_port=ports["PORT"],
        demo_port=ports.get("DEMO_PORT"),
        data_dir=Path(environment.get("DATA_DIR") or (REAL_DATA if upstream == "real" else LOCAL_DATA)),
    )


def complaints_of_services() -> list[str]:
    """What the two services would refuse to start with, each thing once."""
    found: dict[str, None] = {}
    for read in (ProxySettings, ApiSettings, FunctionSettings):
        try:
            read()
        except SettingsRefused as refused:
            found |= dict.fromkeys(refused.complaints)
    return list(found)


def refuse_taken_ports(plan: Plan) -> None:
    """Raises: CannotStart when one of the plan's ports is not free."""
    wanted = {"PROXY_PORT": plan.proxy_port, "PORT": plan.api_port, "DEMO_PORT": plan.demo_port}
    for name, port in wanted.items():
        if port is None:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((_HOST, port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise CannotStart(f"port {port}: {error.strerror}") from error
                raise CannotStart(
                    f"port {port} is taken: if `make run` is running already, use that one or stop it;"
                    f" else choose another port with {name}=…"
                ) from error


def environment_of_services(plan: Plan, environment: Mapping[str, str]) -> dict[str, str]:
    """What both services are told."""
    told = dict(environment) | {
        "PROXY_PORT": str(plan.proxy_port),
        "PORT": str(plan.api_port),
        "DATA_DIR": str(plan.data_dir),
        "PROXY_PUBLIC_URL": environment.get("PROXY_PUBLIC_URL") or plan.proxy_url,
        "PYTHONUNBUFFERED": "1",
    }
    if plan.demo_port is not None:
        told |= dict.fromkeys(
            ("ANTHROPIC_BASE_URL", "OPENAI_BASE_URL", "BEDROCK_ENDPOINT_URL", "AZURE_OPENAI_ENDPOINT"),
            plan.demo_url,
        )
    return told


class Household:
    """The running children, and the wish to stop them.

    Signals may come at any moment of any wait. So what wakes it takes no lock that the wait may hold, and no
    wait is without an end: a signal just before a wait begins does not wake it.
    """

    def __init__(self) -> None:
        self._services: list[Child] = []
        self._upstream: list[Child] = []
        self._news: queue.SimpleQueue[None] = queue.SimpleQueue()  # somebody ended, or asked us to
        self._signals = 0
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    @property
    def children(self) -> list[Child]:
        """All of them."""
        return self._services + self._upstream

    @property
    def is_asked_to_stop(self) -> bool:
        """Whether somebody pressed Ctrl-C or sent SIGTERM."""
        return self._signals > 0

    def _on_signal(self, number: int, frame: object) -> None:
        self._signals += 1
        self._news.put(None)
        if self._signals > 1:
            for child in self.children:
                child.kill()

    def start_service(self, name: str, module: str, environment: Mapping[str, str]) -> Child:
        """Start one of the two services."""
        self._services.append(self._start(name, module, environment=environment))
        return self._services[-1]

    def start_provider(self, port: int, environment: Mapping[str, str]) -> Child:
        """Start the demo provider."""
        self._upstream.append(
            self._start("provider", "demo.provider", "--port", str(port), environment=environment)
        )
        return self._upstream[-1]

    def _start(self, name: str, module: str, *options: str, environment: Mapping[str, str]) -> Child:
        command = [sys.executable, "-m", module, *options]
        return Child(name, command, environment, on_end=lambda: self._news.put(None))

    def wait_until_ready(self, child: Child, port: int) -> None:
        """Return when the child answers. Raises: ChildDied, AskedToStop, TimeoutError."""
        deadline = time.monotonic() + READY_SECONDS
        while not answers(port, "/healthz"):
            if child.status is not None:
                raise ChildDied(child)
            if time.monotonic() > deadline:
                raise TimeoutError(f"{child.name} was not ready within {READY_SECONDS:.0f} seconds")
            self._await_news(_POLL_SECONDS)
            if self.is_asked_to_stop:
                raise AskedToStop

    def wait(self) -> None:
        """Return when asked to stop. Raises: ChildDied when a child ends first."""
        while not self.is_asked_to_stop:
            for child in self.children:
                if child.status is not None:
                    raise ChildDied(child)
            self._await_news(_LOOK_SECONDS)

    def _await_news(self, seconds: float) -> None:
        with suppress(queue.Empty):
            self._news.get(timeout=seconds)

    def stop(self) -> None:
        """End every child, the services first, so that what they still relay can end."""
        for children in (self._services, self._upstream):
            for child in children:
                child.ask_to_stop()
            for child in children:
                child.wait_for_end(STOP_SECONDS)


def demo_key(plan: Plan, clock: Clock) -> str:
    """A fresh key of this machine's account.

    Those of earlier starts stay, since an app may use one by now; `DEMO_KEYS_KEPT` of them, the last used.
    With the demo provider it also tells the account which models that one's Azure deployments are, as long
    as the account has named none.
    Raises: StoreError.
    """
    settings = DeploymentSettings(data_dir=plan.data_dir)
    store = open_store(settings.store_url)
    try:
        directory = Directory(store, clock, deployment_secret(settings))
        account = directory.ensure_local_account()
        if plan.demo_port is not None and account.settings.azure == AzureSettings():
            azure = AzureSettings(deployments=dict(AZURE_DEPLOYMENTS))
            settled = msgspec.structs.replace(account.settings, azure=azure)
            directory.change_settings(account.account_id, settled)
        live = [
            each
            for each in directory.keys_of(LOCAL_ACCOUNT_ID)
            if each.name == KEY_NAME and each.is_live(clock.now())
        ]
        live.sort(key=lambda each: each.last_used_at or each.created_at, reverse=True)
        for record in live[DEMO_KEYS_KEPT - 1 :]:
            directory.revoke_key(LOCAL_ACCOUNT_ID, record.key_id)
        return directory.create_key(LOCAL_ACCOUNT_ID, KeyTerms(name=KEY_NAME, scopes=KEY_SCOPES))[0]
    finally:
        store.close()


def demo_password(plan: Plan) -> str | None:
    """The password of the demo login just made through the API; None where it exists since an earlier start.

    Raises: CannotStart when the API refuses.
    """
    password = secrets.token_urlsafe(12)
    asked = json.dumps({"email": EMAIL, "password": password, "account_name": "Demo"})
    connection = http.client.HTTPConnection(_HOST, plan.api_port, timeout=10)
    try:
        connection.request("POST", "/v1/signup", asked, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise CannotStart("the API did not answer the sign-up of the demo account") from error
    finally:
        connection.close()
    if answer.status == HTTPStatus.CREATED:
        return password
    if answer.status == HTTPStatus.CONFLICT:
        return None
    raise CannotStart(f"the API refused to sign up the demo account (status {answer.status})")


def shown(folder: Path) -> str:
    """The folder as somebody would type it here."""
    folder = folder.absolute()
    return f"./{folder.relative_to(Path.cwd())}" if folder.is_relative_to(Path.cwd()) else str(folder)


def _kept_apart(plan: Plan) -> str:
    if plan.data_dir == REAL_DATA:
        return f"  (real calls; the demo's are in {shown(LOCAL_DATA)})"
    if plan.data_dir == LOCAL_DATA and plan.demo_port is not None:
        return f"  (demo calls; UPSTREAM=real keeps its own in {shown(REAL_DATA)})"
    return ""


def welcome(plan: Plan, key: str, password: str | None) -> str:
    """What a newcomer needs: addresses, a key, a login, two lines to paste."""
    provider_key = "any-demo-key" if plan.demo_port is not None else "$ANTHROPIC_API_KEY"
    login = f"{EMAIL} / {password}" if password else f"{EMAIL}, password as shown at the first start"
    if password:
        hint = "keep the password: it is not shown again"
    else:
        hint = f"lost it? {plan.api_url}/forgot-password mails a link; without SMTP_HOST to here"
    body = '{"model":"claude-sonnet-4-6","max_tokens":200,"messages":[{"role":"user","content":"Hello"}]}'
    provider = ""
    if plan.demo_port is not None:
        provider = f"\n  provider   {plan.demo_url}  (a stand-in; nothing leaves this machine)"
    return f"""
ModelTrack runs. Ctrl-C stops it.

  dashboard  {plan.api_url}/
  proxy      {plan.proxy_url}
  API        {plan.api_url}/v1  (described at {plan.api_url}/openapi.json){provider}
  data       {shown(plan.data_dir)}{_kept_apart(plan)}
  key        {key}
             (new at each start; earlier ones go on working, the {DEMO_KEYS_KEPT} last used of them)
  login      {login}
             ({hint})

A call through the proxy:

curl {plan.proxy_url}/v1/messages \\
  -H "x-api-key: {provider_key}" -H 'anthropic-version: 2023-06-01' -H 'content-type: application/json' \\
  -H 'X-ModelTrack-Team: search' \\
  -d '{body}'

and what it cost (shown within three seconds):

curl -H 'Authorization: Bearer {key}' \\
  '{plan.api_url}/v1/usage?bucket_width=1d&group_by=model&group_by=team'
"""


@contextmanager
def emulator_if_asked_for() -> Iterator[None]:
    """The Firestore emulator, shut by our rules, for as long as needed, where STORE_URL names a demo project.

    Raises: EmulatorMissing.
    """
    if not os.environ.get("STORE_URL", "").startswith("firestore://demo-"):
        yield
        return
    with running_emulator(RULES) as address:
        os.environ["FIRESTORE_EMULATOR_HOST"] = address
        print(f"Firestore emulator: FIRESTORE_EMULATOR_HOST={address}", flush=True)
        yield


def start_all(household: Household, plan: Plan) -> None:
    """Start every child and wait until each is ready, then greet.

    Raises: AskedToStop, ChildDied, CannotStart, StoreError, TimeoutError.
    """
    environment = environment_of_services(plan, os.environ)
    if plan.demo_port is not None:
        provider = household.start_provider(plan.demo_port, environment)
        household.wait_until_ready(provider, plan.demo_port)
    api = household.start_service("api", "api_service", environment)
    proxy = household.start_service("proxy", "proxy_service", environment)
    household.wait_until_ready(api, plan.api_port)
    household.wait_until_ready(proxy, plan.proxy_port)
    password = demo_password(plan)
    print(welcome(plan, demo_key(plan, SystemClock()), password), flush=True)


def main() -> None:
    """Run until asked to stop; the exit status is 1 when something failed."""
    household = Household()
    try:
        plan = plan_from(os.environ, complaints_of_services())
        refuse_taken_ports(plan)
        deployment_secret(DeploymentSettings(data_dir=plan.data_dir))  # made here, or refused here once
        with emulator_if_asked_for():
            try:
                start_all(household, plan)
                household.wait()
            finally:
                household.stop()
    except AskedToStop:
        return
    except (CannotStart, ChildDied, EmulatorMissing, TimeoutError, StoreError, SettingsRefused) as error:
        sys.exit(f"make run: {error}")


if __name__ == "__main__":
    main()
