"""A mail server of one's own: real SMTP on a free port of this machine, in a thread."""

import ssl
from asyncio import Server
from email.message import Message
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message as MessageHandler
from aiosmtpd.smtp import AuthResult, LoginPassword


class Taken(MessageHandler):
    """Keeps the messages it is handed; `refusal` is what it answers recipients instead."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[Message] = []
        self.refusal = ""

    def handle_message(self, message: Message) -> None:
        self.messages.append(message)

    async def handle_RCPT(  # noqa: N802 - aiosmtpd calls it so
        self, server: Any, session: Any, envelope: Any, address: str, rcpt_options: list[str]
    ) -> str:
        if self.refusal:
            return self.refusal
        envelope.rcpt_tos.append(address)
        return "250 OK"


class _OnFreePort(Controller):
    def _trigger_server(self) -> None:
        assert isinstance(self.server, Server)
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()  # type: ignore[no-untyped-call]  # aiosmtpd is typed in part


class RunningMailServer:
    """Takes mail until it is stopped: with a certificate after STARTTLS, with a password after a log-in."""

    def __init__(self, certificate: ssl.SSLContext | None = None, password: str = "") -> None:
        self.taken = Taken()
        self._password = password
        self._controller = _OnFreePort(
            self.taken,
            hostname="127.0.0.1",
            port=0,
            tls_context=certificate,
            require_starttls=certificate is not None,
            authenticator=self._authenticate if password else None,
            auth_required=bool(password),
            auth_require_tls=certificate is not None,
        )

    @property
    def port(self) -> int:
        port: int = self._controller.port
        return port

    def start(self) -> None:
        self._controller.start()

    def stop(self) -> None:
        self._controller.stop()

    def _authenticate(
        self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any
    ) -> AuthResult:
        is_right = isinstance(data, LoginPassword) and data.password.decode() == self._password
        return AuthResult(success=is_right, handled=False)
