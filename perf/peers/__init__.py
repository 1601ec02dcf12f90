"""Other libraries on the same frames, in environments of their own. Nothing here imports arbshard in their
processes.
"""
