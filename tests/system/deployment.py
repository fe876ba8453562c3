"""A whole deployment for the system tests: demo provider, proxies and APIs on one store, and its accounts."""

import hashlib
import json
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import requests
import trustme

from demo.catalogue import AZURE_DEPLOYMENTS
from metering import recovery
from metering.accounts import AccountSettings, AzureSettings, BedrockSettings
from metering.clock import SystemClock
from metering.directory import Directory, KeyTerms
from metering.nightly_check import Difference, check_of
from metering.opening import open_store
from metering.price_table import load_price_table
from metering.pricing import Pricer
from metering.rulebook import Rulebook
from tests.system.front_end import Entrance, free_ports, start_nginx
from tests.system.processes import Process, eventually, free_port, stop_all

REGION = "us-east-1"
SETTINGS = AccountSettings(
    azure=AzureSettings(resource="demo-resource", deployments=dict(AZURE_DEPLOYMENTS)),
    bedrock=BedrockSettings(region=REGION),
)
UPSTREAMS = ("ANTHROPIC_BASE_URL", "OPENAI_BASE_URL", "BEDROCK_ENDPOINT_URL", "AZURE_OPENAI_ENDPOINT")
BUCKETS = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "reasoning_tokens",
    "server_tool_calls",
)

Row = dict[str, Any]


@dataclass(frozen=True)
class Tenant:
    """An account of a test's own, its key, and a provider key that nobody else uses."""

    account_id: str
    key: str
    provider_key: str

    @property
    def headers(self) -> dict[str, str]:
        """What names the account in a call through the proxy."""
        return {"X-ModelTrack-Key": self.key}

    @property
    def customer(self) -> str:
        """The digest under which the demo provider's bill knows the provider key."""
        return hashlib.sha256(self.provider_key.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Faults:
    """Of so many commits in a hundred the reply is lost; while the file exists, the store answers nobody."""

    lost_replies_percent: int
    silencing: Path


@dataclass
class Deployment:
    """Started processes and what they share. `folder` holds their data and logs.

    `settings` are told to every service and win over all others. `faults` has the services run on a store
    with faults (`tests.doubles.faulty_service`). `is_behind_nginx`: two proxies and two APIs behind nginx, so
    that `proxy` and `api` are what callers see of them.
    """

    folder: Path
    store_url: str
    settings: dict[str, str] = field(default_factory=dict)
    faults: Faults | None = None
    is_behind_nginx: bool = False
    secret: str = field(default_factory=lambda: secrets.token_hex(32))
    started: list[Process] = field(default_factory=list)
    provider: Process = field(init=False)
    proxy: Process = field(init=False)
    api: Process = field(init=False)
    plain_url: str = ""  # nginx without TLS
    proxy_tls_port: int = 0
    behind: list[Process] = field(default_factory=list)  # nginx: both proxies, then both APIs

    def start(self, proxy_port: int = 0) -> None:
        """Start one of each, the proxy on that port where given."""
        self.prepare()
        if self.is_behind_nginx:
            self._start_behind_nginx()
            return
        self.api = self.start_api()
        self.proxy_tls_port = free_port()
        self.proxy = self.start_proxy({"TLS_PORT": str(self.proxy_tls_port)}, port=proxy_port)

    def prepare(self) -> None:
        """Make what the services need to be started: their folder and certificates, and the provider."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.authority = trustme.CA()
        self.authority.cert_pem.write_to_path(str(self.folder / "ca.pem"))
        served = self.authority.issue_cert("127.0.0.1", "localhost")
        served.private_key_and_cert_chain_pem.write_to_path(str(self.folder / "served.pem"))
        self.provider = self.start_provider()

    def _start_behind_nginx(self) -> None:
        ports = free_ports()
        self.settings = {
            "FORWARDING_HOPS": "1",
            "PUBLIC_URL": ports.api_url,
            "PROXY_PUBLIC_URL": ports.proxy_url,
            **self.settings,
        }
        with ThreadPoolExecutor() as at_once:
            starting = [at_once.submit(self.start_api) for _ in range(2)]
            proxies = [self.start_proxy(data=name) for name in ("proxy", "second of two")]
            apis = [each.result() for each in starting]
        self.behind = [*proxies, *apis]
        nginx = self._keep(
            start_nginx(
                self.folder / "nginx",
                ports,
                [each.port for each in proxies],
                [each.port for each in apis],
                pem=self.folder / "served.pem",
                ca_file=self.ca_file,
            )
        )
        self.proxy = Entrance(nginx, ports.proxy_url, ports.proxy)
        self.api = Entrance(nginx, ports.api_url, ports.api)
        self.proxy_tls_port = ports.proxy
        self.plain_url = f"http://127.0.0.1:{ports.plain}"

    def stop(self) -> None:
        """End everything that was started."""
        stop_all(self.started)

    def stop_proxies(self) -> None:
        """End every proxy in order."""
        stop_all([process for process in self.started if process.log.name.startswith("proxy-")])

    @property
    def ca_file(self) -> str:
        """The authority that signed the proxy's certificate."""
        return str(self.folder / "ca.pem")

    @property
    def proxy_tls_url(self) -> str:
        """The proxy's HTTPS listener."""
        return f"https://127.0.0.1:{self.proxy_tls_port}"

    def start_provider(self) -> Process:
        """Start a demo provider."""
        port = free_port()
        return self._keep(
            Process(
                "demo.provider", "--port", str(port), port=port, log=self.folder / "provider.log", settings={}
            )
        )

    def start_proxy(
        self, settings: dict[str, str] | None = None, *, data: str = "proxy", port: int = 0
    ) -> Process:
        """Start a proxy in front of the demo provider, with a journal of its own in folder `data`."""
        port = port or free_port()
        told = {
            **self._shared(),
            **dict.fromkeys(UPSTREAMS, self.provider.url),
            "PROXY_PORT": str(port),
            "DATA_DIR": str(self.folder / data),
            "TLS_CERT": str(self.folder / "served.pem"),
            "TLS_KEY": str(self.folder / "served.pem"),
            "TLS_PORT": "0",
            **(settings or {}),
        }
        return self._service("proxy_service", port, self.folder / f"proxy-{port}.log", told)

    def start_api(self, *, port: int = 0) -> Process:
        """Start an API service."""
        port = port or free_port()
        told = {**self._shared(), "PORT": str(port), "DATA_DIR": str(self.folder / "api")}
        return self._service("api_service", port, self.folder / f"api-{port}.log", told)

    def _service(self, module: str, port: int, log: Path, settings: dict[str, str]) -> Process:
        told = {**settings, **self.settings}
        if self.faults is None:
            return self._keep(Process(module, port=port, log=log, settings=told))
        options = (module, str(self.faults.lost_replies_percent), str(self.faults.silencing))
        return self._keep(
            Process("tests.doubles.faulty_service", *options, port=port, log=log, settings=told)
        )

    def start_twice(self) -> list[Process]:
        """Start one of each and a second proxy; the proxies."""
        self.start()
        return [self.proxy, self.start_proxy(data="second")]

    def _shared(self) -> dict[str, str]:
        return {"STORE_URL": self.store_url, "MODELTRACK_SECRET": self.secret, "LOG_LEVEL": "debug"}

    def _keep(self, process: Process) -> Process:
        self.started.append(process)
        return process

    def directory(self) -> Directory:
        """The accounts and keys in the deployment's store, as the API service would change them."""
        return Directory(open_store(self.store_url), SystemClock(), self.secret.encode())

    def differences(self, tenant: Tenant) -> list[Difference]:
        """What the nightly checks will find amiss of the tenant's first day and the present one."""
        store, now = open_store(self.store_url), SystemClock().now()
        account = self.directory().account(tenant.account_id)
        assert account is not None
        days = sorted({account.created_at.date(), now.date()})  # midnight may have passed since
        return [each for day in days for each in check_of(store, account, day, now).differences]

    def recover(self) -> None:
        """Store what proxies that have ended left in their journals, as the job does."""
        store = open_store(self.store_url)
        for folder in {path.parent for path in self.folder.glob("*/cost_events*")}:
            recovery.run(store, SystemClock(), folder, lambda: Pricer(load_price_table()))
        store.close()

    def rulebook(self) -> Rulebook:
        """The accounts' budgets and routing rules, as the API service would change them."""
        store = open_store(self.store_url)
        return Rulebook(store, Directory(store, SystemClock(), self.secret.encode()), SystemClock())

    def tenant(self, settings: AccountSettings = SETTINGS) -> Tenant:
        """A new account with a key of every scope."""
        directory = self.directory()
        account = directory.create_account("test")
        directory.change_settings(account.account_id, settings)
        terms = KeyTerms(name="test", scopes=("proxy", "read", "write", "stats"))
        key, _ = directory.create_key(account.account_id, terms)
        return Tenant(account.account_id, key, f"sk-test-{secrets.token_hex(16)}")

    def ingress_path(self, tenant: Tenant) -> str:
        """The path under which clients that can set no header reach the tenant's account."""
        terms = KeyTerms(kind="ingress", name="test", scopes=("proxy",))
        return "/ws/" + self.directory().create_key(tenant.account_id, terms)[0]

    def script(self, tenant: Tenant, *answers: Row) -> None:
        """Have the demo provider answer the tenant's next calls so."""
        answer = requests.post(
            f"{self.provider.url}/demo/script",
            json={"key": tenant.provider_key, "answers": answers},
            timeout=10,
        )
        assert answer.ok, answer.text

    def bill(self, tenant: Tenant) -> list[Row]:
        """What the demo provider charged the tenant's provider key, oldest first."""
        address = f"{self.provider.url}/demo/bill?customer={tenant.customer}"
        rows: list[Row] = requests.get(address, timeout=10).json()["data"]
        return rows

    def whole_bill(self) -> list[Row]:
        """What the demo provider charged anybody, oldest first."""
        rows: list[Row] = requests.get(f"{self.provider.url}/demo/bill", timeout=60).json()["data"]
        return rows

    def received(self, tenant: Tenant) -> list[Row]:
        """The tenant's requests as the demo provider received them, oldest first."""
        address = f"{self.provider.url}/demo/received?customer={tenant.customer}"
        rows: list[Row] = requests.get(address, timeout=10).json()["data"]
        return rows

    def wait_for_arrival(self, tenant: Tenant) -> None:
        """Return when a request of the tenant has reached the demo provider."""
        eventually(lambda: self.received(tenant), what="the arrival of the call at the provider")

    def ask_api(self, tenant: Tenant, path: str, *, api: Process | None = None) -> Row:
        """A page of the API as the tenant sees it; money as exact decimals."""
        headers = {"Authorization": f"Bearer {tenant.key}"}
        answer = requests.get((api or self.api).url + path, headers=headers, timeout=20)
        assert answer.ok, answer.text
        page: Row = json.loads(answer.text, parse_float=Decimal)
        return page

    def events(self, tenant: Tenant, count: int, *, api: Process | None = None) -> list[Row]:
        """The tenant's events, oldest first, as soon as there are that many; there must not be more."""

        def look() -> list[Row] | None:
            found: list[Row] = self.ask_api(tenant, "/v1/events?limit=100", api=api)["data"]
            return found if len(found) >= count else None

        found = eventually(look, what=f"the storing of {count} events") if count else []
        assert len(found) == count, found
        return sorted(found, key=lambda event: str(event["timestamp"]))

    def event(self, tenant: Tenant) -> Row:
        """The tenant's one and only event."""
        return self.events(tenant, 1)[0]

    def usage(self, tenant: Tenant, *, api: Process | None = None) -> Row:
        """Today's and yesterday's sums of the tenant, over all buckets and groups."""
        report = self.ask_api(tenant, "/v1/usage?bucket_width=1d", api=api)
        results: Sequence[Row] = [row for bucket in report["data"] for row in bucket["results"]]
        names = {name for row in results for name, value in row.items() if isinstance(value, int | Decimal)}
        return {name: sum(row.get(name) or 0 for row in results) for name in names}

    def assert_billed(self, tenant: Tenant, count: int) -> list[Row]:
        """Hold events and usage against the provider's bill, call by call; gives the events, oldest first.

        Each call stands once in each, with the same tokens, and costs the same to the nanodollar.
        """
        bill = self.bill(tenant)
        events = self.events(tenant, count)
        assert sorted(map(summary, bill)) == sorted(map(event_summary, events))
        usage = self.usage(tenant)
        assert usage["requests"] == count
        assert usage["cost_usd"] == sum((event["cost_usd"] for event in events), Decimal(0))
        for name in BUCKETS:
            assert usage[name] == sum(row[name] for row in bill), name
        return events


def nanodollars(amount: Decimal | int) -> int:
    """An amount in US dollars as the integer that it must be."""
    whole = Decimal(amount) * 10**9
    assert whole == int(whole)
    return int(whole)


def summary(row: Row) -> tuple[Any, ...]:
    """What a row of the bill says of a call's kind, tokens and cost."""
    return (row["provider"], row["streaming"], *(row[name] for name in BUCKETS), row["nanodollars"])


def event_summary(event: Row) -> tuple[Any, ...]:
    """What an event says of the same."""
    tokens = (event[name] for name in BUCKETS)
    return (event["provider"], event["streaming"], *tokens, nanodollars(event["cost_usd"]))
