"""Other gateways, each in an environment of its own below `.make/peers`; none is a dependency of ours.

They are fetched once from the registries that pip and npm are set up for, at the versions named here. They
authenticate, translate and log as they do by default, without a database.
"""

import json
import secrets
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.answers import MODELS
from bench.gateways import GATEWAY_CORE, HOST, LITELLM, PORTKEY, Gateway, Missing, Upstream, free_port, pinned

FOLDER: Final = Path(__file__).resolve().parents[1] / ".make" / "peers"
INSTALL_SECONDS_MAX: Final = 900
LITELLM_VERSION: Final = "1.106.2"
PORTKEY_VERSION: Final = "1.15.2"
# With the newer one that npm resolves, every stream of Portkey 1.15.2 fails: "TypeError: immutable".
HONO_SERVER_VERSION: Final = "1.13.8"


def litellm(to: Upstream, folder: Path) -> Gateway:
    """LiteLLM's proxy, one worker, with a master key. Raises: Missing."""
    environment = FOLDER / "litellm"
    python = str(environment / "bin" / "python")
    _install(
        f"LiteLLM {LITELLM_VERSION}",
        environment,
        [sys.executable, "-m", "venv", "--clear", str(environment)],
        [python, "-m", "pip", "install", "-q", f"litellm[proxy]=={LITELLM_VERSION}"],
    )
    port, key = free_port(), f"sk-{secrets.token_hex(24)}"  # it refuses to start with a well-known one
    configuration = folder / "litellm.yaml"  # JSON is YAML
    served = {"model": f"anthropic/{MODELS['anthropic']}", "api_base": to.url, "api_key": "bench"}
    configuration.write_text(
        json.dumps(
            {
                "model_list": [{"model_name": MODELS["anthropic"], "litellm_params": served}],
                "general_settings": {"master_key": key},
            }
        )
    )
    command = [
        *(str(environment / "bin" / "litellm"), "--config", str(configuration), "--num_workers", "1"),
        *("--host", HOST, "--port", str(port), "--telemetry", "False"),
    ]
    settings = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}  # dials nobody for it
    settings |= {"SSL_CERT_FILE": to.ca_file} if to.ca_file else {}
    return Gateway(
        LITELLM,
        f"http://{HOST}:{port}",
        headers={"authorization": f"Bearer {key}"},
        start=lambda: pinned(command, GATEWAY_CORE, settings, folder / "litellm.log"),
    )


def portkey(to: Upstream, folder: Path) -> Gateway:
    """Portkey's gateway on Node.js. Raises: Missing."""
    environment = FOLDER / "portkey"
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        raise Missing("Node.js is missing, which Portkey needs (Debian: apt-get install nodejs npm)")
    environment.mkdir(parents=True, exist_ok=True)
    wanted = {
        "private": True,
        "dependencies": {"@portkey-ai/gateway": PORTKEY_VERSION},
        "overrides": {"@hono/node-server": HONO_SERVER_VERSION},
    }
    (environment / "package.json").write_text(json.dumps(wanted))
    quiet = ("--no-audit", "--no-fund", "--loglevel=error")
    _install(
        f"Portkey {PORTKEY_VERSION}", environment, [npm, "install", *quiet, "--prefix", str(environment)]
    )
    port = free_port()
    program = environment / "node_modules/@portkey-ai/gateway/build/start-server.js"
    command = [node, str(program), f"--port={port}", "--headless"]
    settings = {"NODE_EXTRA_CA_CERTS": to.ca_file} if to.ca_file else {}
    return Gateway(
        PORTKEY,
        f"http://{HOST}:{port}",
        headers={"x-portkey-provider": "anthropic", "x-portkey-custom-host": f"{to.url}/v1"},
        start=lambda: pinned(command, GATEWAY_CORE, settings, folder / "portkey.log"),
    )


def _install(what: str, environment: Path, *commands: Sequence[str]) -> None:
    """Run the commands, unless they have made just this environment before. Raises: Missing."""
    stamp = environment / "installed"
    made = f"{what} with {HONO_SERVER_VERSION}" if what.startswith(PORTKEY) else what
    if stamp.is_file() and stamp.read_text() == made:
        return
    print(f"installing {what} into {environment} (once; --no-peers leaves it out)", file=sys.stderr)
    environment.parent.mkdir(parents=True, exist_ok=True)
    for command in commands:
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS_MAX)
        except subprocess.CalledProcessError as failed:
            said = (failed.stderr or failed.stdout or "").strip().splitlines() or ["nothing"]
            raise Missing(f"{what} was not installed; its installer says: {said[-1]}") from None
        except (OSError, subprocess.TimeoutExpired) as failed:
            raise Missing(f"{what} was not installed: {type(failed).__name__}") from None
    stamp.write_text(made)
