"""`python -m jupyterhub_service`: what the Hub runs."""

from .app import RtcService

if __name__ == "__main__":
    RtcService.launch_instance()
