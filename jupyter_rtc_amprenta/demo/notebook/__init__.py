"""The sample notebook: `Welcome.ipynb`, built and executed from `welcome.py` by `build.py`."""
