"""Fingerprints: the same for the same template, and nothing to anybody without the secret."""

import hashlib
import hmac

from proxy_service.fingerprints import Fingerprints

TEMPLATE = b'[1,["Be brief."],[],[]]'


def test_a_fingerprint_is_of_its_template_account_and_secret() -> None:
    prints = Fingerprints(b"s" * 32)
    made = prints.of("acct_a", TEMPLATE)

    assert made == Fingerprints(b"s" * 32).of("acct_a", TEMPLATE)
    assert len(made) == 32
    assert int(made, 16)
    others = {
        prints.of("acct_b", TEMPLATE),
        prints.of("acct_a", TEMPLATE + b" "),
        Fingerprints(b"t" * 32).of("acct_a", TEMPLATE),
    }
    assert len(others | {made}) == 4


def test_what_the_store_holds_makes_no_fingerprint() -> None:
    made = Fingerprints(b"s" * 32).of("acct_a", TEMPLATE)

    guesses = [hashlib.sha256(TEMPLATE).hexdigest(), hashlib.sha256(b"acct_a" + TEMPLATE).hexdigest()]
    for key in (b"", b"acct_a", b"modeltrack proxy: prompt fingerprints of acct_a"):
        guesses.append(hmac.digest(key, TEMPLATE, "sha256").hex())
    assert all(not guess.startswith(made) for guess in guesses)
