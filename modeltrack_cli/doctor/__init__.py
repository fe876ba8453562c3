"""`modeltrack doctor`: looks at a deployment from outside, and says what is wrong and what to do.

It goes by the addresses that callers use, with a key such as they have, and changes nothing: one call is made
through the proxy, and where it is asked for one key, which ends within minutes. docs/operations/doctor.md
lists what is looked at.
"""
