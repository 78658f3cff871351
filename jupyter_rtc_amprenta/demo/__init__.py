"""The demo: a PostgreSQL, a JupyterHub with its proxy, and two users, on one machine.

`launcher` starts and stops all of it, in the order of its parts: `postgres`, then `proxy`
(which finds or fetches the Hub's proxy), then `hub` (which runs JupyterHub with
`jupyterhub_config.py`). `state` is what survives from one start to the next.
"""
