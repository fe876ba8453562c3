"""nginx before two proxies and two APIs, as infra/nginx/nginx.conf has it, with our addresses put in."""

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.system.processes import ROOT, Process, free_port

IS_FOR_ALL = os.environ.get("DEPLOYMENT") == "behind-nginx"  # `make behind-nginx`
CONFIGURATION = ROOT / "infra" / "nginx" / "nginx.conf"
ACCESS_LOG = "access.log"
_TLS = "listen 443 ssl http2;\n    server_name"
_PLAIN = "listen 80;\n    server_name"
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@dataclass(frozen=True)
class Ports:
    """Where nginx listens: for calls, for the API, and for whoever comes without TLS."""

    proxy: int
    api: int
    plain: int

    @property
    def proxy_url(self) -> str:
        """Where callers reach the proxies."""
        return f"https://127.0.0.1:{self.proxy}"

    @property
    def api_url(self) -> str:
        """Where browsers reach the APIs."""
        return f"https://127.0.0.1:{self.api}"


def free_ports() -> Ports:
    """Ports that were free a moment ago."""
    return Ports(free_port(), free_port(), free_port())


def start_nginx(
    folder: Path, ports: Ports, proxies: Sequence[int], apis: Sequence[int], *, pem: Path, ca_file: str
) -> Process:
    """Start it before these; `pem` is certificate and key. It is ready when an API answers through it."""
    folder.mkdir()
    configuration = folder / "nginx.conf"
    configuration.write_text(_configured(CONFIGURATION.read_text(), folder, ports, proxies, apis, pem))
    own = "daemon off;" + (" user root;" if os.geteuid() == 0 else "")  # so that it may write where tests do
    options = ("-p", str(folder), "-c", str(configuration), "-g", own)
    return Process(
        _program(),
        *options,
        program=(),
        port=ports.api,
        url=ports.api_url,
        ca_file=ca_file,
        log=folder / "nginx.log",
        settings={},
    )


def _program() -> str:
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/sbin")
    assert found, "nginx is missing: install it (Debian: apt-get install nginx-light)"
    return found


def _configured(
    text: str, folder: Path, ports: Ports, proxies: Sequence[int], apis: Sequence[int], pem: Path
) -> str:
    changes = {
        "pid /run/nginx.pid;": f"pid {folder}/nginx.pid;",
        "/var/log/nginx/modeltrack.log": f"{folder}/{ACCESS_LOG}",
        "/etc/ssl/modeltrack.pem": str(pem),
        "/etc/ssl/modeltrack.key": str(pem),
        f"{_TLS} proxy": f"listen 127.0.0.1:{ports.proxy} ssl http2;\n    server_name proxy",
        f"{_TLS} api": f"listen 127.0.0.1:{ports.api} ssl http2;\n    server_name api",
        f"{_PLAIN} proxy": f"listen 127.0.0.1:{ports.plain};\n    server_name proxy",
        f"{_PLAIN} api": f"listen 127.0.0.1:{ports.plain};\n    server_name api",
        "http {\n": "http {\n" + "".join(f"  {each}_temp_path {folder}/{each};\n" for each in TEMPORARY),
        **{f"127.0.0.1:{8080 + at};": f"127.0.0.1:{port};" for at, port in enumerate(proxies)},
        **{f"127.0.0.1:{3001 + at};": f"127.0.0.1:{port};" for at, port in enumerate(apis)},
    }
    for there, here in changes.items():
        assert len(re.findall(rf"(?m){re.escape(there)}", text)) == 1, there
        text = text.replace(there, here)
    return text


class Entrance(Process):
    """What callers see of a service behind nginx. Whatever is done to it is done to nginx."""

    def __init__(self, nginx: Process, url: str, port: int) -> None:
        self.__dict__.update(vars(nginx))
        self.url = url
        self.port = port
