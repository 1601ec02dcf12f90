"""Defines the coins of the simulated exchanges: well-known ones at plausible prices, then invented ones, up to
3,000.

The table is the same for every seed; only what the prices do from here on is random. ``world`` uses it.
"""

from itertools import product
from typing import NamedTuple

from arbshard.exchanges.ladder import binance_lot, binance_tick
from arbshard.exchanges.seeds import seeded

COINS_MAX = 3000


class Coin(NamedTuple):
    """Describes a coin as both venues list it."""

    base: str
    english_name: str
    korean_name: str
    price_usdt: float
    """Where the reference price starts, in USDT."""
    tick: int
    """Tick of the USDT market, in units of 1e-8."""
    lot: int
    """Lot of the USDT market, in units of 1e-8."""


# base, English name, Korean name, price in USDT. Coins whose KRW tick is coarse (0.1 to 1 %) come last.
_KNOWN: tuple[tuple[str, str, str, float], ...] = (
    ("BTC", "Bitcoin", "비트코인", 94_500.0),
    ("ETH", "Ethereum", "이더리움", 3_320.0),
    ("XRP", "XRP", "엑스알피", 2.31),
    ("SOL", "Solana", "솔라나", 188.0),
    ("DOGE", "Dogecoin", "도지코인", 0.672),
    ("ADA", "Cardano", "에이다", 1.06),
    ("LINK", "Chainlink", "체인링크", 20.4),
    ("AVAX", "Avalanche", "아발란체", 33.8),
    ("DOT", "Polkadot", "폴카닷", 6.2),
    ("BCH", "Bitcoin Cash", "비트코인캐시", 441.0),
    ("LTC", "Litecoin", "라이트코인", 108.0),
    ("ETC", "Ethereum Classic", "이더리움클래식", 26.2),
    ("NEAR", "NEAR Protocol", "니어프로토콜", 5.1),
    ("APT", "Aptos", "앱토스", 9.4),
    ("SUI", "Sui", "수이", 3.37),
    ("ATOM", "Cosmos", "코스모스", 6.6),
    ("UNI", "Uniswap", "유니스왑", 13.2),
    ("AAVE", "Aave", "에이브", 312.0),
    ("OP", "Optimism", "옵티미즘", 1.92),
    ("ARB", "Arbitrum", "아비트럼", 0.83),
    ("TIA", "Celestia", "셀레스티아", 4.9),
    ("INJ", "Injective", "인젝티브", 20.6),
    ("STX", "Stacks", "스택스", 1.62),
    ("QTUM", "Qtum", "퀀텀", 3.1),
    ("RENDER", "Render", "렌더토큰", 6.4),
    ("BNB", "BNB", "비앤비", 655.0),
    ("TON", "Toncoin", "톤코인", 5.3),
    ("ICP", "Internet Computer", "인터넷컴퓨터", 10.4),
    ("FIL", "Filecoin", "파일코인", 5.2),
    ("NEO", "Neo", "네오", 14.1),
    ("AXS", "Axie Infinity", "엑시인피니티", 6.2),
    ("THETA", "Theta Network", "쎄타토큰", 2.2),
    ("XTZ", "Tezos", "테조스", 1.28),
    ("IMX", "Immutable", "이뮤터블엑스", 1.34),
    ("EGLD", "MultiversX", "멀티버스엑스", 33.0),
    ("ENS", "Ethereum Name Service", "이더리움네임서비스", 33.5),
    ("MASK", "Mask Network", "마스크네트워크", 3.0),
    ("GAS", "Gas", "가스", 4.7),
    ("JUP", "Jupiter", "주피터", 0.86),
    ("ONDO", "Ondo Finance", "온도파이낸스", 1.37),
    ("WLD", "Worldcoin", "월드코인", 2.2),
    ("COMP", "Compound", "컴파운드", 82.0),
    ("PENDLE", "Pendle", "펜들", 5.2),
    ("ZRO", "LayerZero", "레이어제로", 4.9),
    ("TAO", "Bittensor", "비트텐서", 480.0),
    ("LPT", "Livepeer", "라이브피어", 16.2),
    ("AR", "Arweave", "알위브", 17.1),
    ("KAVA", "Kava", "카바", 0.69),
    ("VET", "VeChain", "비체인", 0.066),
    ("SHIB", "Shiba Inu", "시바이누", 0.0000655),
    ("PEPE", "Pepe", "페페", 0.0000182),
    ("BONK", "Bonk", "봉크", 0.0000317),
    ("TRX", "TRON", "트론", 0.262),
    ("XLM", "Stellar", "스텔라루멘", 0.41),
    ("HBAR", "Hedera", "헤데라", 0.283),
    ("SEI", "Sei", "세이", 0.43),
    ("ALGO", "Algorand", "알고랜드", 0.36),
    ("SAND", "The Sandbox", "샌드박스", 0.57),
    ("MANA", "Decentraland", "디센트럴랜드", 0.47),
    ("GRT", "The Graph", "그래프", 0.21),
    ("CHZ", "Chiliz", "칠리즈", 0.084),
    ("BLUR", "Blur", "블러", 0.25),
)

# Coins that have a finer tick on the real venue than others of their price.
_TICKS = {"XRP": 10_000, "DOGE": 1_000}


def coin_table(count: int) -> tuple[Coin, ...]:
    """Return the first ``count`` coins, 1 to 3,000."""
    assert 1 <= count <= COINS_MAX, count
    known = [
        Coin(base, english, korean, price, _TICKS.get(base, binance_tick(price)), binance_lot(price))
        for base, english, korean, price in _KNOWN[:count]
    ]
    return (*known, *_made_up(count - len(known)))


def _made_up(count: int) -> list[Coin]:
    """Return ``count`` invented coins: Q and one or two syllables, at prices of eight magnitudes."""
    known = {row[0] for row in _KNOWN}
    consonants, vowels = "BDFGKLMNPRSTVZ", "AEIOU"
    names = []
    for letters in ((consonants, vowels, consonants), (consonants, vowels, consonants, vowels)):
        some = [f"Q{''.join(chosen)}" for chosen in product(*letters)]
        some = [name for name in some if name not in known]  # QTUM
        assert len(some) % 397, "the stride must meet every name"
        names += [some[index * 397 % len(some)] for index in range(len(some))]
    coins = []
    for base in names[:count]:
        rng = seeded("coins", base)
        magnitude = rng.randrange(-5, 3)
        # Below 1 USDT only the upper end of each decade has a KRW tick near 10 bps, and not up to 100.
        digits = rng.uniform(1.0, 9.9) if magnitude >= 0 else rng.uniform(5.9, 6.6)
        price = round(digits * 10.0**magnitude, 3 - magnitude)
        coins.append(
            Coin(base, base.capitalize(), f"모의 {base}", price, binance_tick(price), binance_lot(price))
        )
    return coins
