"""
Run a graph of functions as parallel as its dependencies allow.
"""

__version__ = "0.1.0"
