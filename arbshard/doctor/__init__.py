"""Checks whether live trading is safe: facts are gathered from the venues, and a verdict is given for
each question.
"""
