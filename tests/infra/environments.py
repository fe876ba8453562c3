"""The deployments that infra/ is planned for in tests: the files that come with it, and the extremes."""

from typing import Any

DIGEST = "sha256:" + "0123456789abcdef" * 4
KEY = "projects/keys-example/locations/europe-west1/keyRings/modeltrack/cryptoKeys/rest"

# What only the operator knows, and the files do not say.
OWN: dict[str, Any] = {
    "project": "modeltrack-example",
    "region": "europe-west1",
    "location": "eur3",
    "mail_from": "mail@example.com",
    "security_contact": "security@example.com",
    "smtp_host": "smtp.example.com",
    "proxy_image": f"europe-west1-docker.pkg.dev/modeltrack-example/modeltrack/proxy@{DIGEST}",
    "api_image": f"europe-west1-docker.pkg.dev/modeltrack-example/modeltrack/api@{DIGEST}",
}
NETWORK = {
    "network": "projects/modeltrack-example/global/networks/inside",
    "subnetwork": "projects/modeltrack-example/regions/europe-west1/subnetworks/inside",
}
DOMAIN = {"domain": "modeltrack.example.com"}
# Everything that is optional at once.
EVERYTHING = {
    **OWN,
    **DOMAIN,
    **NETWORK,
    "added_latency_slo": True,
    "alert_emails": ["one@example.com", "two@example.com"],
    "billing_account": "000000-000000-000000",
    "github_client_id": "github-client",
    "github_repository": "example/modeltrack",
    "github_repository_id": "12345",
    "google_client_id": "google-client",
    "kms_key": KEY,
    "kms_key_database": KEY.replace("europe-west1", "europe"),
    "smtp_user": "mail",
}

PLANS: dict[str, tuple[str, dict[str, Any]]] = {
    "staging": ("staging.tfvars", OWN),
    "production": ("production.tfvars", OWN | DOMAIN),
    "private": ("private.tfvars", OWN | NETWORK),
    "foundation": ("production.tfvars", OWN | {"foundation_only": True, "proxy_image": "", "api_image": ""}),
    "everything": ("production.tfvars", EVERYTHING),
}
# The others differ little from those.
APPLIED = ("staging", "private", "everything")
