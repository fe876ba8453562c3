"""What is mailed to people, word for word.

A link carries its token behind `#`, which browsers send to no server: it stands in nobody's log and reaches
no other page. Opening a link changes nothing, since mail is opened by programs too; its page asks first.
"""

import re
import unicodedata
from dataclasses import dataclass, field
from datetime import datetime

_GREETING = "Hello,\n\n"
_END = "\n\n-- \nModelTrack\n"
_DOTS = str.maketrans("\u3002\uff0e\uff61", "...")  # what domain names are also written with
_LINK_SIGNS = re.compile(r"//|\\|@|:\S|\S\.\S")
_PLAIN_ADDRESS = re.compile(r"(?!.*www\.)[a-z0-9._+-]+@[a-z0-9.-]+")


@dataclass(frozen=True)
class Letter:
    """One mail. Its text may hold a link that lets its reader in: it is not to be logged."""

    to: str
    subject: str
    text: str = field(repr=False)


def confirmation(to: str, base_url: str, token: str) -> Letter:
    """To somebody who signed up: is this address theirs?"""
    return _letter(
        to,
        "Confirm your e-mail address",
        "somebody, you we hope, signed up to ModelTrack with this address. To confirm that it is yours:",
        link=f"{base_url}/confirm-address#token={token}",
        after="The link works for 24 hours. If it was not you, do nothing.",
    )


def password_reset(to: str, base_url: str, token: str) -> Letter:
    """To somebody who forgot their password, or whose address somebody else gave."""
    return _letter(
        to,
        "Choose a new password",
        "somebody, you we hope, asked for a new password of your ModelTrack log-in. To choose one:",
        link=f"{base_url}/reset-password#token={token}",
        after="The link works once, for one hour. If it was not you, do nothing; your password stays.",
    )


def password_changed(to: str, at: datetime) -> Letter:
    """To somebody whose password was changed, so that they know if it was not them."""
    return _letter(
        to,
        "Your password was changed",
        f"the password of your ModelTrack log-in was changed on {_said(at)}, and all its sessions ended.",
        after="If it was not you, choose a new password at once: the log-in page's “forgotten” does it.",
    )


def address_change(to: str, base_url: str, token: str) -> Letter:
    """To the address that somebody wants to have from now on."""
    return _letter(
        to,
        "Confirm your new e-mail address",
        "somebody, you we hope, wants to log in to ModelTrack with this address from now on. To confirm:",
        link=f"{base_url}/change-address#token={token}",
        after="The link works once, for 24 hours. If it was not you, do nothing.",
    )


def address_changed(to: str, at: datetime) -> Letter:
    """To the address that somebody had until now."""
    return _letter(
        to,
        "Your e-mail address was changed",
        f"your ModelTrack log-in has another e-mail address since {_said(at)}, and no longer this one.",
        after="If it was not you, tell whoever runs your ModelTrack.",
    )


def identity_changed(to: str, at: datetime, provider: str, *, is_linked: bool) -> Letter:
    """To somebody who may log in by a provider from now on, or no longer."""
    now = "also lets in whoever signs in with" if is_linked else "no longer lets in who signs in with"
    return _letter(
        to,
        f"Signing in with {provider}",
        f"your ModelTrack log-in {now} your {provider} account since {_said(at)}.",
        after="If it was not you, choose a new password at once, and tell whoever runs your ModelTrack.",
    )


def second_factor_changed(to: str, at: datetime, *, is_on: bool) -> Letter:
    """To somebody who is asked for a code from now on, or no longer."""
    now = "asks for a code of your app" if is_on else "no longer asks for a code"
    return _letter(
        to,
        f"Your second factor is {'on' if is_on else 'off'}",
        f"your ModelTrack log-in {now} since {_said(at)}.",
        after="If it was not you, choose a new password at once, and tell whoever runs your ModelTrack.",
    )


def recovery_code_used(to: str, at: datetime, *, left: int) -> Letter:
    """To somebody who logged in with a code from paper."""
    return _letter(
        to,
        "A recovery code was used",
        f"somebody, you we hope, used a recovery code of your ModelTrack log-in on {_said(at)}. "
        f"You have {left} left.",
        after="If it was not you, choose a new password at once, and make new recovery codes.",
    )


def person_erased(to: str, at: datetime) -> Letter:
    """To somebody who has ended their log-in, at the address they had."""
    return _letter(
        to,
        "Your log-in was erased",
        f"your ModelTrack log-in was erased on {_said(at)}, as whoever was logged in asked for. You "
        "belong to no account any more, and this address may sign up anew.",
        after="If it was not you, tell whoever runs your ModelTrack.",
    )


def invitation(
    to: str, base_url: str, token: str, *, account_name: str, role: str, by: str, by_address: str
) -> Letter:
    """To somebody who may join an account.

    It goes to whomever its maker wants, so no words of theirs stand in it that a mail program could make a
    link of: it says less then.
    """
    named = f"“{account_name}”" if is_plain_name(account_name) else ""
    who = by if is_plain_name(by) else by_address if _PLAIN_ADDRESS.fullmatch(by_address) else "Somebody"
    return _letter(
        to,
        f"Join {named or 'an account'} on ModelTrack",
        f"{who} invites you to {f'the account {named}' if named else 'an account'} on ModelTrack, as {role}."
        " To join it:",
        link=f"{base_url}/accept-invite#token={token}",
        after="The link works once, for seven days, with this address. If you will not join, do nothing.",
    )


def is_plain_name(name: str) -> bool:
    """Whether the name may stand in a mail to a stranger: there is one, and nothing in it looks like a link.

    Mail programs make links of addresses without `https://`, too, and of what browsers take for a dot.
    """
    read = unicodedata.normalize("NFKC", name).translate(_DOTS)
    return bool(read.strip()) and not _LINK_SIGNS.search(read)


def _letter(to: str, subject: str, text: str, *, link: str = "", after: str) -> Letter:
    parts = [text, f"    {link}", after] if link else [text, after]
    return Letter(to, subject, _GREETING + "\n\n".join(parts) + _END)


def _said(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d at %H:%M} UTC"
