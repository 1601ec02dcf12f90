"""``python -m arbshard.campaign``: the monitor's process."""

from arbshard.campaign.monitor import main

if __name__ == "__main__":
    main()
