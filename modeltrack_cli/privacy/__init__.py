"""`modeltrack privacy-check`: sends canaries through every route of a deployment, and then looks for them.

A canary is a random text that stands for a prompt, a key, a password. None may be in what the deployment
keeps or tells: the account's export, what can be read of it, figures, pages, logs.
docs/operations/privacy-check.md says what is sent and what is looked at.
"""
