"""Defines the section ``[web]``: the desk in the browser."""

from arbshard.config.section import PortNumber, Section


class WebConfig(Section, frozen=True):
    """Where the desk listens, and who may look at it and operate it."""

    enabled: bool = False
    host: str = "127.0.0.1"
    """Any other address than this computer's own needs both tokens, a certificate and its key."""
    port: PortNumber = 8420
    """0: any free port, which ``arbshard status`` shows."""
    names: tuple[str, ...] = ()
    """Names by which browsers reach ``host``, such as ``desk.example.org``; any other name is refused."""
    certificate: str = ""
    """A file in PEM format."""
    key: str = ""
    """The file of its private key."""
    viewer_token_file: str = ""
    """A file, readable by its owner only, with the token for looking. Empty: whoever reaches the address may look."""
    operator_token_file: str = ""
    """The same for halt, resume, close and other actions. Empty: ``web-operator.token`` in the state directory, which
    is made when it is missing."""
