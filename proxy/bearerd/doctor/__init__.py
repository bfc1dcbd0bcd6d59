"""What `bearerd doctor` looks at: each check returns findings, and mends nothing.

Knows settings, the store and the machine; asks nobody outside of it unless it is told
to be online. A finding that is not good names the remedy.
"""
