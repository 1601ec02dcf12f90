"""The venues: one folder each, with the same rooms; ``base`` has the Protocols, ``registry`` the list."""
