"""Makes the certificates of the simulated exchanges with ``trustme``: a new authority of their own at each start.

The authority's private key is never stored, so nothing can be signed with it afterwards. ``main`` calls this module.
"""

import os
import ssl
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

from arbshard.errors import ConfigError

VALID_FOR = timedelta(days=397)
"""How long a certificate is valid; some clients refuse certificates that are valid for longer."""
_ALWAYS = ("localhost", "127.0.0.1", "::1")
_WILDCARDS = ("0.0.0.0", "::", "")  # noqa: S104 - nothing is bound here


def require_trustme() -> None:
    """Raise ``ConfigError`` when the library is not installed."""
    if find_spec("trustme") is None:
        raise ConfigError(
            "sim.tls", "needs the library trustme, which the extra 'tls' of this project installs"
        )


def server_context(host: str, now_s: int, authority_file: Path) -> ssl.SSLContext:
    """Return a context for a server on ``host`` and on loopback.

    The authority's certificate is written to ``authority_file``, atomically and in place of that of an earlier
    start. Raises ``ConfigError`` without trustme and ``OSError`` when the file cannot be written.
    """
    require_trustme()
    import trustme

    authority = trustme.CA(organization_name="arbshard simulated exchanges")
    hosts = dict.fromkeys(_ALWAYS) | ({} if host in _WILDCARDS else {host: None})
    now = datetime.fromtimestamp(now_s, UTC)
    certificate = authority.issue_cert(
        *hosts,
        not_before=now - timedelta(days=1),  # a client's clock may be behind
        not_after=now - timedelta(days=1) + VALID_FOR,
    )
    unfinished = authority_file.with_name(f".{authority_file.name}.{os.getpid()}")
    authority.cert_pem.write_to_path(unfinished)
    unfinished.replace(authority_file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    certificate.configure_cert(context)
    return context
