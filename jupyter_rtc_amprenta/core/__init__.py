"""What the server extension and the Hub service share. No tornado, jupyter_server or jupyterhub here."""
