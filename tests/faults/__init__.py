"""
The fault harness: a small logging program in a child, a fault, and a count of what was accepted, found and reported.

``python -m faults`` runs every row of what is promised when things go wrong; ``make faults`` does so for people and CI.
"""
