"""Provides the ``arbshard`` command, also as ``python -m arbshard``."""


def main() -> None:
    """Run the command line. Ctrl-C ends it without a traceback, also while its modules are still being imported."""
    try:
        from arbshard.cli import main as run

        run()
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
