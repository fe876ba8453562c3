"""What an operator does to accounts and people: `python -m api_service.operator <command> <id>`.

    show acct_…                  what is known of the account
    suspend acct_…               nobody gets in and its keys are refused, on every instance within a second
    resume acct_…                the other way round
    plan acct_… pro              another plan, and settings within it
    erase acct_… acct_…          close it for good; the id twice, since nothing brings it back
    second-factor-off person_…   ask somebody for no codes who has lost the app and the recovery codes
    new-secret                   have people found by their addresses again: MODELTRACK_SECRET is another

It works on the store that the environment names, as a job does (docs/settings.md), so whoever may run it is
whoever has access to that. Each change is noted in the account's audit log, in the same commit.
"""

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, TextIO

import msgspec

from api_service.audit_log import AuditEvent, write_of
from api_service.functions.settings import FunctionSettings
from api_service.people import People
from metering.accounts import Account
from metering.clock import Clock, SystemClock
from metering.collections import MEMBERSHIPS, second_factor_path
from metering.directory import Change, Directory, with_plan
from metering.erasure import close_account
from metering.errors import Conflict, InvalidInput, MeteringError, NotFound
from metering.ids import new_id
from metering.opening import open_store
from metering.plans import all_plans
from metering.settings import SettingsRefused, deployment_secret
from metering.stores import Delete, DocumentStore, Query

EXIT_REFUSED: Final = 2
EXIT_FAILED: Final = 1

_ACCOUNT_ID: Final = re.compile(r"acct_(?:local|[0-9a-f]{32})")
_OF_ACCOUNTS: Final = ("show", "suspend", "resume", "plan", "erase")
_PERSON_ID: Final = re.compile(r"person_[0-9a-f]{32}")
_USAGE = (
    "usage: python -m api_service.operator show|suspend|resume <account>, plan <account> <plan>,"
    " erase <account> <account>, second-factor-off <person>, or new-secret"
)


def main(arguments: Sequence[str]) -> int:
    """Do what the arguments say; gives the exit code."""
    clock = SystemClock()
    try:
        settings = FunctionSettings()
        address = settings.store_url
        secret = _services_secret(settings) if "new-secret" in arguments else b""
        store = open_store(address)
    except SettingsRefused as refused:
        sys.stderr.write("\n".join(refused.complaints) + "\n")
        return EXIT_REFUSED
    try:
        return operate(store, clock, arguments, sys.stdout, secret)
    except NotFound as error:
        sys.stderr.write(f"{error} in {address}\n")
        return EXIT_REFUSED
    except MeteringError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_REFUSED if isinstance(error, InvalidInput | Conflict) else EXIT_FAILED
    finally:
        store.close()


def operate(
    store: DocumentStore, clock: Clock, arguments: Sequence[str], out: TextIO, secret: bytes = b""
) -> int:
    """Do what the arguments say. `secret` is the deployment's, for what hashes with it.

    Raises: InvalidInput, NotFound, Conflict, StoreUnavailable.
    """
    directory = Directory(store, clock, b"")  # nothing is hashed here
    _check_account_id(arguments)
    match list(arguments):
        case ["show", account_id]:
            account = directory.account(account_id)
            if account is None:
                raise NotFound("there is no such account")
        case ["suspend", account_id]:
            account = _changed(directory, clock, account_id, "suspend_account", _suspended)
        case ["resume", account_id]:
            account = _changed(directory, clock, account_id, "resume_account", _resumed)
        case ["plan", account_id, name] if name in all_plans():
            account = _changed(
                directory, clock, account_id, "change_plan", lambda before: with_plan(before, name)
            )
        case ["erase", account_id, again]:
            erase(store, directory, clock, account_id, again)
            out.write(f"{account_id}: closed for good; the job erase deletes what it had\n")
            return 0
        case ["new-secret"]:
            people = People(store, directory, clock, secret, is_hosted=True)
            moved, taken = people.claim_addresses()
            out.write(f"{moved} people are found by their addresses again\n")
            out.writelines(
                f"{each}: somebody else has signed up with their address since\n" for each in taken
            )
            return 0
        case ["second-factor-off", person_id]:
            switch_second_factor_off(store, clock, person_id)
            out.write(f"{person_id}: logs in without a code\n")
            return 0
        case ["plan", _, _]:
            raise InvalidInput(f"give one of {', '.join(all_plans())}", "plan")
        case _:
            raise InvalidInput(_USAGE)
    out.write(
        f"{account.account_id}: {account.status}, plan {account.plan},"
        f" events kept {account.settings.events_kept_days} days\n"
    )
    return 0


def _check_account_id(arguments: Sequence[str]) -> None:
    """See that nothing else becomes part of a path. Raises: NotFound."""
    if len(arguments) > 1 and arguments[0] in _OF_ACCOUNTS and not _ACCOUNT_ID.fullmatch(arguments[1]):
        raise NotFound("there is no such account")


def erase(store: DocumentStore, directory: Directory, clock: Clock, account_id: str, again: str) -> None:
    """Close an account for good. Raises: InvalidInput, NotFound, StoreUnavailable."""
    if again != account_id:
        raise InvalidInput("give the account's id twice: what is erased does not come back")
    close_account(store, directory, clock, account_id, by="operator")


def switch_second_factor_off(store: DocumentStore, clock: Clock, person_id: str) -> None:
    """Ask the person for no codes any more, and note that in the audit logs of their accounts.

    Raises: NotFound, StoreUnavailable.
    """
    if not _PERSON_ID.fullmatch(person_id) or store.get(second_factor_path(person_id)) is None:
        raise NotFound("there is no such person with a second factor")
    places = store.query(Query(collection=MEMBERSHIPS, equal={"person_id": person_id}))
    entries = [
        _entry(each.fields["account_id"], clock, "switch_second_factor_off", person_id) for each in places
    ]
    store.commit([Delete(second_factor_path(person_id)), *map(write_of, entries)])


def _services_secret(settings: FunctionSettings) -> bytes:
    """The secret that the services have. Raises: SettingsRefused.

    A store elsewhere is served with a secret that lies elsewhere, too: one made up here locks everybody out.
    """
    is_here = settings.store_url.startswith("sqlite:")
    if not is_here and not settings.modeltrack_secret.get_secret_value():
        raise SettingsRefused(["MODELTRACK_SECRET: give the one that the services have"])
    return deployment_secret(settings)


def _suspended(account: Account) -> Account:
    return msgspec.structs.replace(account, status="suspended")


def _resumed(account: Account) -> Account:
    if account.closed_at is not None:
        raise Conflict("this account is being erased; there is no way back")
    return msgspec.structs.replace(account, status="active")


def _changed(
    directory: Directory, clock: Clock, account_id: str, operation: str, edit: Callable[[Account], Account]
) -> Account:
    def prepare() -> Change[Account]:
        change = directory.edition_of_account(account_id, edit)
        entry = _entry(account_id, clock, operation, account_id)
        return replace(change, writes=[*change.writes, write_of(entry)])

    return directory.change(prepare)


def _entry(account_id: str, clock: Clock, operation: str, target_id: str) -> AuditEvent:
    return AuditEvent(
        event_id=new_id("audit"),
        account_id=account_id,
        at=clock.now(),
        actor="operator",
        operation=operation,
        target_id=target_id,
        outcome="done",
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
