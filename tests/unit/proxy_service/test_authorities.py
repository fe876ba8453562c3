"""Whose certificates upstreams are believed by: read once, whoever asks, and again where it went wrong."""

import asyncio
import ssl
from pathlib import Path

import pytest
import trustme

from proxy_service.authorities import Authorities


def test_all_who_ask_get_the_one_that_was_read() -> None:
    authorities = Authorities()
    begun = authorities.read()

    async def asked() -> list[ssl.SSLContext]:
        return await asyncio.gather(*(authorities.context() for _ in range(3)))

    assert {id(each) for each in asyncio.run(asked())} == {id(begun.result(5))}


def test_upstreams_are_verified_and_old_protocols_refused() -> None:
    context = Authorities().read().result(5)

    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_those_of_a_file_are_believed_beside_the_systems(tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))

    without = Authorities().read().result(5).cert_store_stats()["x509_ca"]

    assert Authorities(str(tmp_path / "ca.pem")).read().result(5).cert_store_stats()["x509_ca"] == without + 1


def test_a_file_that_could_not_be_read_is_read_again(tmp_path: Path) -> None:
    authorities = Authorities(str(tmp_path / "ca.pem"))

    async def asked() -> ssl.SSLContext:
        return await authorities.context()

    with pytest.raises(OSError, match="No such file"):
        asyncio.run(asked())
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))

    assert isinstance(asyncio.run(asked()), ssl.SSLContext)


def test_who_gives_up_waiting_ends_it_for_nobody_else() -> None:
    async def asked() -> ssl.SSLContext:
        authorities = Authorities()
        leaving = asyncio.create_task(authorities.context())
        await asyncio.sleep(0)
        leaving.cancel()
        return await authorities.context()

    assert isinstance(asyncio.run(asked()), ssl.SSLContext)
