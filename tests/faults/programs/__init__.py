"""
What runs in the children: one module per kind of app.
"""
