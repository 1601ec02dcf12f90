"""How the venue's calls are signed."""

from collections.abc import Mapping


class ThirdSigning:
    """Implements ``Signing``."""

    ccxt_id = "bitvavo"
    takes_ed25519 = False
    root = "/v2/"

    def ccxt_addresses(self, url: str) -> Mapping[str, str]:
        """None: ccxt puts the root itself."""
        del url
        return {}
