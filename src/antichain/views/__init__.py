"""
What people see of a run. A view reads events or records; it changes nothing.
"""
