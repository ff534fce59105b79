"""
What executes attempts away from the event loop. Each runner is imported by name, when a run needs it.
"""
