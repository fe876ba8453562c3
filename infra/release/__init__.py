"""Releasing: what cloudbuild.yaml runs once the tests have passed. Standard library and gcloud, nothing else.

The steps, in order: `python3 -m infra.release` with `pins`, then the scripts `build` and `push` with `scan`
between them, then `deploy`, `smoke` and `shift`. They hand on what they found by files in `.make/release`.
Until `shift` nobody's call reaches what is new; whatever goes wrong from then on puts all traffic back.
"""
