"""``[paper]`` for tests of other things: the paper venue does nothing unkind by chance."""

KIND_PAPER: dict[str, object] = {
    "reject_share": 0.0,
    "refusals_per_day": 0.0,
    "partial_share": 0.0,
    "unknown_share": 0.0,
    "late_fill_share": 0.0,
}
