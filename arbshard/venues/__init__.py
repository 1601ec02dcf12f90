"""Holds the venues, each in a folder of its own with the same modules.

``base`` has the Protocols that these modules implement, and ``registry`` has the list of all venues.
"""
