"""The PostgreSQL schema's steps; `migrate.py` runs them."""
