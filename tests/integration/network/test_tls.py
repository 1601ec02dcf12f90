"""Whom each client trusts: the system's authorities or those of ``ca_file``, and nobody else."""

import asyncio
import os
import sys

import pytest

from support.reach import reach

pytestmark = [pytest.mark.integration, pytest.mark.needs("tls")]


async def test_trusted_by_ca_file(client, authority, serving):
    async with serving(authority.context("127.0.0.1")) as port:
        assert await reach(client, f"127.0.0.1:{port}", authority.ca_file) == ""


async def test_trusted_by_the_system(client, authority, serving, reach_program):
    """A process of its own, because the system's authorities are read once in the life of a process."""
    async with serving(authority.context("127.0.0.1")) as port:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            reach_program,
            client,
            f"127.0.0.1:{port}",
            env={**os.environ, "SSL_CERT_FILE": authority.ca_file},
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(30):
                said, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert (process.returncode, said.decode().strip()) == (0, "")


async def test_an_unknown_authority_is_refused(client, authority, serving):
    async with serving(authority.context("127.0.0.1")) as port:
        why = await reach(client, f"127.0.0.1:{port}")
    assert "CERTIFICATE_VERIFY_FAILED" in why
    assert "unable to get local issuer certificate" in why


async def test_the_certificate_of_another_host_is_refused(client, authority, serving):
    async with serving(authority.context("api.binance.com")) as port:
        why = await reach(client, f"127.0.0.1:{port}", authority.ca_file)
    assert "CERTIFICATE_VERIFY_FAILED" in why
    assert "IP address mismatch" in why


async def test_an_expired_certificate_is_refused(client, authority, serving):
    async with serving(authority.context("127.0.0.1", expired=True)) as port:
        why = await reach(client, f"127.0.0.1:{port}", authority.ca_file)
    assert "CERTIFICATE_VERIFY_FAILED" in why
    assert "certificate has expired" in why


async def test_another_ca_file_is_no_help(client, authority, serving, tmp_path):
    folder = tmp_path / "other"
    folder.mkdir()
    other = type(authority)(folder)
    async with serving(authority.context("127.0.0.1")) as port:
        why = await reach(client, f"127.0.0.1:{port}", other.ca_file)
    assert "CERTIFICATE_VERIFY_FAILED" in why
