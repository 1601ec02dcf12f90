"""Launches the monitor's process: ``python -m arbshard.campaign``."""

from arbshard.campaign.monitor import main

if __name__ == "__main__":
    main()
