"""Makes certificates for a start and loads them: the shell around ``certificate``. ``main`` calls it, tests too."""

import os
import random
import ssl
import tempfile
from pathlib import Path

from arbshard.sim.tls.certificate import make_chain

_ALWAYS = ("localhost", "127.0.0.1", "::1")
_WILDCARDS = ("0.0.0.0", "::", "")  # noqa: S104 - nothing is bound here


def server_context(host: str, now_s: int, authority_file: Path) -> ssl.SSLContext:
    """A context for a server on ``host`` and on loopback; the authority's certificate is in ``authority_file`` then.

    The file appears in one piece and replaces that of an earlier start. Raises ``OSError`` when it cannot be written.
    """
    hosts = dict.fromkeys(_ALWAYS) | ({} if host in _WILDCARDS else {host: None})
    chain = make_chain(tuple(hosts), now_s, random.SystemRandom())
    unfinished = authority_file.with_name(f".{authority_file.name}.{os.getpid()}")
    unfinished.write_text(chain.authority)
    unfinished.replace(authority_file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # OpenSSL reads keys from files only: a private one that is there for a moment.
    with tempfile.NamedTemporaryFile("w", prefix="arbshard-sim-", suffix=".pem") as file:
        file.write(chain.server)
        file.flush()
        context.load_cert_chain(file.name)
    return context
