"""The checks of `bearerd doctor`. Each returns findings and changes nothing.

They look at the settings, the stores and this machine, and contact no other machine
unless the user asks for it. A finding that is not ok has a remedy.
"""
