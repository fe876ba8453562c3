"""Who is calling: from an account key, an ingress address, or, on a machine of one's own, from nothing.

| what came | what follows |
|---|---|
| `X-ModelTrack-Key: mt_…` | the key's account; `team`, `app` and `deployment` as the key pins them |
| `/ws/<ingress id>/…` | the address's account, from the networks it is limited to |
| both | they must name the same account (400); the key's pins count |
| neither, hosted or with `KEY_REQUIRED` | 401 |
| neither, else | the machine's own account |
| an account key where the provider's belongs | 401: it would else be handed to the provider |

A key not yet known is looked up as far as its caller's address may have that done (`lookups`), else 503.
While the store is silent, what is known holds. A well-formed key this instance has not seen is then served
too, at most so many calls a second, recorded by its hash for recovery to attribute; anything else is 401.
Refusals have fixed words: nothing of a credential is ever repeated.
"""

import ipaddress
from functools import lru_cache

import msgspec

from metering.accounts import LOCAL_ACCOUNT_ID, Caller, Policy
from metering.clock import Clock
from metering.errors import StoreUnavailable
from metering.keys import KEY_PREFIX, Scope, is_well_formed_ingress_id, is_well_formed_key, key_hash
from proxy_service.headers import KEY_HEADER, Inbound
from proxy_service.lookups import RateCap, TooManyLookUps
from proxy_service.policy import KeyUses, KnownKey, PolicyMemory
from proxy_service.refusals import RequestRefused
from proxy_service.tally import Tally
from proxy_service.wire import Headers

INGRESS_PREFIX = b"/ws/"
UNSEEN_CALLS_PER_SECOND = 20.0
UNSEEN_CALLS_BURST = 40.0
NETWORKS_REMEMBERED_MAX = 1024

_PROVIDER_KEY_HEADERS = frozenset((b"authorization", b"x-api-key", b"api-key"))
_KEY_PREFIX = KEY_PREFIX.encode()


class Identified(msgspec.Struct, frozen=True):
    """Whose call it is and what governs it.

    `unseen_key_hash` is set where the store could not say whose key it is: the account is not known then,
    and recovery attributes the call by that hash.
    """

    caller: Caller
    policy: Policy
    unseen_key_hash: str = ""


class Credentials(msgspec.Struct, frozen=True):
    """What a request says of who is calling. `address` is the caller's, as far as we can know it."""

    key: str = ""
    ingress_id: str = ""
    address: str = ""


def split_ingress(target: bytes) -> tuple[str | None, bytes]:
    """The ingress id a raw target starts with, None where there is none; and the target without it."""
    if not target.startswith(INGRESS_PREFIX):
        return None, target
    ingress_id, slash, rest = target[len(INGRESS_PREFIX) :].partition(b"/")
    return ingress_id.decode("latin-1"), slash + rest or b"/"


def credentials(inbound: Inbound, ingress_id: str | None, peer_address: str) -> Credentials:
    """What a request says of who is calling. Raises: RequestRefused when it says two things."""
    if inbound.has_two_keys:
        raise RequestRefused(400, "two_keys", "send X-ModelTrack-Key once")
    key = inbound.ours.get(KEY_HEADER)
    if key is not None and not is_well_formed_key(key.decode("latin-1")):
        raise _unauthenticated()
    if ingress_id is not None and not is_well_formed_ingress_id(ingress_id):
        raise _unauthenticated()
    return Credentials(
        key="" if key is None else key.decode("latin-1"),
        ingress_id=ingress_id or "",
        address=inbound.client_address or peer_address,
    )


def refuse_misplaced_key(outbound: Headers) -> None:
    """Raises: RequestRefused when what would go to the provider as its key is a key of ours."""
    for name, value in outbound:
        if _KEY_PREFIX not in value or name.lower() not in _PROVIDER_KEY_HEADERS:
            continue
        if is_well_formed_key(value.rpartition(b" ")[2].decode("latin-1")):
            raise RequestRefused(
                401,
                "modeltrack_key_misplaced",
                "this is a ModelTrack key where the provider's own key belongs: send it as X-ModelTrack-Key,"
                " and the provider's key here",
            )


class Identity:
    """Names the caller of each request."""

    def __init__(
        self,
        memory: PolicyMemory,
        uses: KeyUses,
        clock: Clock,
        secret: bytes,
        tally: Tally,
        *,
        is_key_required: bool,
    ) -> None:
        self._memory = memory
        self._uses = uses
        self._clock = clock
        self._secret = secret
        self._tally = tally
        self._is_key_required = is_key_required
        self._unseen_calls = RateCap(UNSEEN_CALLS_PER_SECOND, UNSEEN_CALLS_BURST)

    async def identify(self, given: Credentials, scope: Scope) -> Identified:
        """Whose call it is. Raises: RequestRefused."""
        if not given.key and not given.ingress_id:
            return await self._keyless()
        hashes = [key_hash(plain, self._secret) for plain in (given.key, given.ingress_id) if plain]
        remembered = None if given.ingress_id else self._remembered(hashes[0], scope)
        if remembered is not None:
            return remembered
        now = self._clock.monotonic()
        known: list[KnownKey] = []
        try:
            for hashed in hashes:
                known.append(self._admitted(await self._memory.key(hashed, given.address, now), scope))
        except StoreUnavailable:
            # Fail open: the caller's own provider key decides what it may do there.
            if not known:
                return self._unseen(hashes[0])
            self._take_unseen_call(known[0].caller)  # a known key beside an address that cannot be looked up
            return await self._governed(known[0])
        except TooManyLookUps as error:
            raise _busy(known[0].caller if known else None) from error
        if given.ingress_id:
            _check_address(known[-1], given.address)
        if len(known) > 1 and known[0].caller.account_id != known[1].caller.account_id:
            differing = "the key and the address name different accounts"
            raise RequestRefused(400, "two_accounts", differing, caller=known[0].caller)
        return await self._governed(known[0])

    def _remembered(self, hashed: str, scope: Scope) -> Identified | None:
        """Whose call it is, where key and policy are in memory, as nearly always; None: find out."""
        key = self._memory.known_key(hashed)
        policy = None if key is None else self._memory.known_policy(key.caller.account_id)
        if policy is None or policy.status == "suspended":
            return None
        key = self._admitted(key, scope)
        self._uses.note(hashed)
        return Identified(key.caller, policy)

    def _admitted(self, key: KnownKey | None, scope: Scope) -> KnownKey:
        if key is None:
            raise _unauthenticated()
        if not key.record.is_live(self._clock.now()):
            raise _unauthenticated(key.caller)
        if scope not in key.record.scopes:
            lacking = f"this ModelTrack key lacks the scope {scope}"
            raise RequestRefused(403, "wrong_scope", lacking, caller=key.caller)
        return key

    async def _governed(self, key: KnownKey) -> Identified:
        account_id = key.caller.account_id
        try:
            policy = await self._memory.policy(account_id)
        except StoreUnavailable:
            # The key is known and its account's settings are not: served under the cap, with the defaults.
            self._take_unseen_call(key.caller)
            policy = self._memory.policy_unread(account_id)
        except TooManyLookUps as error:
            raise _busy(key.caller) from error
        if policy is None:
            raise _unauthenticated(key.caller)
        if policy.status == "suspended":
            raise _suspended(key.caller)
        self._uses.note(key.record.key_hash)
        return Identified(key.caller, policy)

    async def _keyless(self) -> Identified:
        if self._is_key_required:
            raise _unauthenticated()
        try:
            policy = await self._memory.policy(LOCAL_ACCOUNT_ID)
        except (StoreUnavailable, TooManyLookUps):
            policy = None  # our own machine's call goes through without its settings
        if policy is not None and policy.status == "suspended":
            raise _suspended(_LOCAL_CALLER)
        return Identified(_LOCAL_CALLER, policy or self._memory.policy_unread(LOCAL_ACCOUNT_ID))

    def _unseen(self, hashed: str) -> Identified:
        self._take_unseen_call()
        return Identified(Caller(account_id=""), Policy(account_id=""), unseen_key_hash=hashed)

    def _take_unseen_call(self, caller: Caller | None = None) -> None:
        if not self._unseen_calls.take(self._clock.monotonic()):
            raise _busy(caller)
        self._tally.unseen_keys_served += 1


_LOCAL_CALLER = Caller(account_id=LOCAL_ACCOUNT_ID)


def _unauthenticated(caller: Caller | None = None) -> RequestRefused:
    return RequestRefused(
        401,
        "invalid_modeltrack_key",
        "send a valid ModelTrack key in X-ModelTrack-Key, or use your account's own /ws/ address",
        caller=caller,
    )


def _suspended(caller: Caller) -> RequestRefused:
    return RequestRefused(
        403, "account_suspended", "this ModelTrack account is suspended or was ended", caller=caller
    )


def _busy(caller: Caller | None = None) -> RequestRefused:
    unverified = "the key cannot be verified at the moment; try again"
    return RequestRefused(503, "key_not_verified", unverified, caller=caller)


def _check_address(key: KnownKey, address: str) -> None:
    if key.record.addresses and not _is_within(address, key.record.addresses):
        elsewhere = "this address of ModelTrack is limited to other networks"
        raise RequestRefused(403, "wrong_address", elsewhere, caller=key.caller)


def _is_within(address: str, networks: tuple[str, ...]) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None) or parsed
    return any(mapped in network for network in _parsed(networks))


@lru_cache(maxsize=NETWORKS_REMEMBERED_MAX)
def _parsed(
    networks: tuple[str, ...],
) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    return tuple(ipaddress.ip_network(network) for network in networks)
