"""`jupyter-rtc doctor`: what can be wrong with a deployment, found out from wherever it runs, with what to do about it.

One module an area; each has `checks(scene)`, which gives its checks one after the other. What can't be found out from a
place (a user's server has no credentials for the database, and needs none) is told so, and is no fault.
"""
