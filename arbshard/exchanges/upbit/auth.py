"""Verifies Upbit's authentication: a JWT whose claims may carry a hash of the request's parameters. It is pure.

Clients differ in what they hash, and the venue accepts all of it: the query as sent or decoded, the body as sent or
decoded, or the JSON body's members joined as a query (with blanks as they are, or as plus signs). ``private`` uses
it for REST, and the private WebSocket's opener too.
"""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable
from urllib.parse import unquote

from arbshard.exchanges.accounts.account import Accounts, TradingAccount
from arbshard.exchanges.session import Query
from arbshard.exchanges.upbit.refusals import UpbitRefusal, unauthorised

NONCES_MAX = 100_000
"""Nonces that are remembered per key; an older one could be used again."""
_HASHES = {"HS256": "sha256", "HS512": "sha512"}


def _never() -> None:
    """Refuse no key: the default."""


class Authenticator:
    """Knows the venue's accounts and the nonces they have used."""

    def __init__(self, accounts: Accounts, refuse: Callable[[], UpbitRefusal | None] = _never) -> None:
        """Verify requests for ``accounts``; ``refuse`` is asked for each valid key: it may have been revoked."""
        self._accounts = accounts
        self._refuse = refuse
        self._nonces: dict[str, dict[str, None]] = {}

    def account_of_request(self, query: Query) -> TradingAccount:
        """Return the account that sent the request. Raises ``UpbitRefusal`` (401)."""
        account, claims = self._verify(query.headers.get("authorization", ""))
        _check_hash(claims, query)
        return account

    def account_of_token(self, authorization: str) -> TradingAccount:
        """Return the account whose token the header has, without a hash of parameters. Raises ``UpbitRefusal``
        (401).
        """
        return self._verify(authorization)[0]

    def _verify(self, authorization: str) -> tuple[TradingAccount, dict[str, str]]:
        scheme, _, token = authorization.strip().partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise unauthorised("no_authorization_token", "A token is needed.")
        signed, _, signature = token.strip().rpartition(".")
        header, _, payload = signed.partition(".")
        hash_name = _HASHES.get(_members(header).get("alg", ""))
        claims = _members(payload)
        if hash_name is None:
            raise unauthorised("jwt_verification", "The token's algorithm is neither HS256 nor HS512.")
        account = self._accounts.get(claims.get("access_key", ""))
        if account is None:
            raise unauthorised("invalid_access_key", "The access key is not known.")
        expected = hmac.digest(account.secret.encode(), signed.encode(), hash_name)
        if not hmac.compare_digest(expected, _decoded(signature)):
            raise unauthorised("jwt_verification", "The token's signature is wrong.")
        refused = self._refuse()
        if refused is not None:
            raise refused
        self._use_nonce(account.key, claims.get("nonce", ""))
        return account, claims

    def _use_nonce(self, key: str, nonce: str) -> None:
        if not nonce:
            raise unauthorised("jwt_verification", "The token has no nonce.")
        used = self._nonces.setdefault(key, {})
        if nonce in used:
            raise unauthorised("nonce_used", "The nonce was used before.")
        used[nonce] = None
        if len(used) > NONCES_MAX:
            del used[next(iter(used))]


def _decoded(part: str) -> bytes:
    """Decode a part of the token. Raises ``UpbitRefusal``."""
    try:
        return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise unauthorised("jwt_verification", "The token cannot be read.") from None


def _members(part: str) -> dict[str, str]:
    """Return the text members of a token's JSON part. Raises ``UpbitRefusal``."""
    try:
        parsed = json.loads(_decoded(part))
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, dict):
        raise unauthorised("jwt_verification", "The token cannot be read.")
    return {name: value for name, value in parsed.items() if isinstance(value, str)}


def _check_hash(claims: dict[str, str], query: Query) -> None:
    given = claims.get("query_hash")
    if not query.raw_query and query.body.strip() in (b"", b"{}") and given is None:
        return
    if given is None or claims.get("query_hash_alg", "SHA512").upper() != "SHA512":
        raise unauthorised("invalid_query_payload", "The token has no SHA512 hash of the parameters.")
    wanted = given.lower()
    body = query.body.decode(errors="replace")
    texts = [query.raw_query, unquote(query.raw_query)] if query.raw_query or not body else []
    if body:
        joined = json_joined(body)
        texts += [body, unquote(body), joined, joined.replace(" ", "+")]
    if not any(hashlib.sha512(text.encode()).hexdigest() == wanted for text in texts):
        raise unauthorised("invalid_query_payload", "The hash is not that of the parameters.")


def json_joined(body: str) -> str:
    """Join a JSON object's members in order: ``k=v`` with ``&``, lists as ``k[]=v``. Other texts give an empty
    result.
    """
    try:
        parsed = json.loads(body, parse_float=str, parse_int=str)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(parsed, dict):
        return ""
    pairs: list[str] = []
    for name, value in parsed.items():
        if isinstance(value, list):
            pairs += [f"{name.removesuffix('[]')}[]={_text(one)}" for one in value]
        else:
            pairs.append(f"{name}={_text(value)}")
    return "&".join(pairs)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
