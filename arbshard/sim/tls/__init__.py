"""Certificates of the simulated exchanges: an authority of their own, made at each start, with nothing but Python.

Pure: ``der``, ``p256``, ``certificate``. ``context`` is the shell. The authority's private key is never stored, so
nobody can sign with it afterwards. Not constant in time, and not meant for anything but loopback.
"""
