"""Decides what goes wrong at the simulated exchanges, on purpose. It is pure: no socket, no clock, no file.

``board`` holds the switches of one venue; ``requests``, ``events`` and ``spells`` decide by them; ``control`` is
their remote control, ``POST /sim/faults``. ``venue.VenueFaults`` combines all of it for one venue; ``server`` calls
it and does what it decides. What each fault does is described beside its settings, in ``config.sim``.

Every fault has random numbers of its own, drawn from the seed, the venue and its name: the same order of occasions
gives the same faults, whatever else is on.
"""
