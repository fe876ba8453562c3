"""A log-in of an owner or admin: a full export and the audit log are given to no key."""

from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from modeltrack_cli.calls import Answer, Credential, Nobody, json_of
from modeltrack_cli.errors import CommandFailed
from modeltrack_cli.privacy.sending import Post

_REFUSALS: Mapping[int, str] = {
    401: "the address or the password is wrong",
    403: "that person may not log in",
    429: "there were too many attempts; wait a quarter of an hour",
}


def sign_in(post: Post, api_url: str, email: str, password: str, code: Callable[[], str]) -> tuple[str, ...]:
    """Log in and go to the key's account; the cookies' values. Raises: CommandFailed, with what to do."""
    origin = _origin(api_url)
    answer = post.write("/v1/login", {"email": email, "password": password}, Nobody(), origin)
    if answer.status == 202:
        half = Credential("Cookie", _cookies(answer))
        answer = post.write("/v1/login/second-factor", {"code": code()}, half, origin)
        if answer.status != 200:
            raise CommandFailed("the code was not taken: give a fresh one (MODELTRACK_CODE)")
    values = _entered(post, answer, origin)
    wanted, present = _account(post, "key"), _account(post, "session")
    if wanted and wanted != present and post.doors.session is not None:
        moved = post.write("/v1/session/switch", {"account_id": wanted}, post.doors.session, {})
        if moved.status != 200:
            raise CommandFailed("the person who logged in is not in the key's account")
        values += _entered(post, moved, origin)
    return values


def sign_out(post: Post) -> bool:
    """End the session; whether that was done."""
    if post.doors.session is None:
        return True
    try:
        return post.write("/v1/logout", None, post.doors.session, {}).status in {200, 204}
    except CommandFailed:
        return False


def _entered(post: Post, answer: Answer, origin: Mapping[str, str]) -> tuple[str, ...]:
    found = json_of(answer)
    token = found.get("csrf_token") if isinstance(found, dict) else None
    cookie = _cookies(answer)
    if answer.status != 200 or not isinstance(token, str) or not token.isprintable() or not cookie:
        raise CommandFailed(_REFUSALS.get(answer.status, f"logging in is answered {answer.status}"))
    post.doors.session = Credential("Cookie", cookie, {"X-CSRF-Token": token, **origin})
    return tuple(each.partition("=")[2] for each in cookie.split("; "))


def _cookies(answer: Answer) -> str:
    """What a browser would send back of the cookies that were set."""
    pairs = [each.partition(";")[0].strip() for each in answer.cookies]
    return "; ".join(each for each in pairs if each.isprintable() and not each.endswith("="))


def _account(post: Post, opens: str) -> str:
    answer = post.read("api", "/v1/account", "key" if opens == "key" else "session")
    found = json_of(answer)
    return str(found.get("id", "")) if answer.status == 200 and isinstance(found, dict) else ""


def _origin(api_url: str) -> Mapping[str, str]:
    parts = urlsplit(api_url)
    return {"Origin": f"{parts.scheme}://{parts.netloc}"}
