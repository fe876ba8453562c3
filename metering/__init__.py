"""The domain both services stand on: what a call used, what that costs, who pays, and where it is kept.

Start here: `usage` (how much of each billable unit), `pricing` (what that costs), `events` (one metered
call, as recorded), `ledger` (how events become segments and rollups, each exactly once), `stats` (questions
about rollups), `accounts` and `keys` (whose call it was), `stores` (what a database must promise).

Nothing here opens a socket or reads the environment except the two stores, `sqlite` and `firestore`.
"""
