"""The ``arbshard`` command."""


def main() -> None:
    """Entry point."""
