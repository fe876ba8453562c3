"""All pages in one table: where each lies, what it is called, and what whoever opens it may have to do.

`@page(name)` (`api_service.dashboard.rendering`) gives an entry its view; the menu and the command palette
show those that have one and that the visitor may open.
"""

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

from api_service.access import Need

Group = Literal["Spend", "Plan", "Control", "Account", ""]

GROUPS: Final[tuple[Group, ...]] = ("Spend", "Plan", "Control", "Account")


class Page(NamedTuple):
    """One page. Without a `group` it is in no menu; `under` is the entry that is marked then.

    `takes_range`: the range, zone and filters of the address govern what it shows.
    """

    name: str
    path: str
    title: str
    need: Need = "read"
    group: Group = ""
    under: str = ""
    takes_range: bool = False

    @property
    def is_open(self) -> bool:
        """Whether it is shown to nobody in particular."""
        return self.need == "anyone"


PAGES: Final[tuple[Page, ...]] = (
    Page("home", "/", "ModelTrack", need="anyone"),
    Page("overview", "/overview", "Overview", group="Spend", takes_range=True),
    Page("models", "/models", "Models", group="Spend", takes_range=True),
    Page("teams", "/teams", "Teams & apps", group="Spend", takes_range=True),
    Page("features", "/features", "Features", group="Spend", takes_range=True),
    Page("customer_tiers", "/customer-tiers", "Customer tiers", group="Spend", takes_range=True),
    Page("sessions", "/sessions", "Sessions", group="Spend", takes_range=True),
    Page("session", "/sessions/view", "Session", under="sessions"),
    Page("prompts", "/prompts", "Prompts", group="Spend", takes_range=True),
    Page("events", "/events", "Events", group="Spend", takes_range=True),
    Page("event", "/events/<request_id>", "Event", under="events"),
    Page("infrastructure", "/infrastructure", "Infrastructure", group="Spend", takes_range=True),
    Page("forecast", "/forecast", "Forecast", group="Plan"),
    Page("estimator", "/estimator", "Estimator", group="Plan"),
    Page("reports", "/reports", "Reports", group="Plan", takes_range=True),
    Page("report", "/reports/<period>", "Report", under="reports"),
    Page("budgets", "/budgets", "Budgets", group="Control"),
    Page("new_budget", "/budgets/new", "New budget", need="write", under="budgets"),
    Page("budget", "/budgets/<budget_id>", "Budget", under="budgets"),
    Page("routing_rules", "/routing-rules", "Routing rules", group="Control", takes_range=True),
    Page("new_routing_rule", "/routing-rules/new", "New rule", need="write", under="routing_rules"),
    Page("routing_dry_run", "/routing-rules/dry-run", "Dry run", under="routing_rules"),
    Page("routing_rule", "/routing-rules/<rule_id>", "Routing rule", under="routing_rules"),
    Page("alerts", "/alerts", "Alerts", group="Control"),
    Page("channels", "/alerts/channels", "Channels", under="alerts"),
    Page("webhooks", "/alerts/webhooks", "Webhooks", under="alerts"),
    Page("notices", "/alerts/notices", "Notices", under="alerts"),
    Page("keys", "/keys", "Keys", group="Control"),
    Page("new_key", "/keys/new", "New key", need="keys", under="keys"),
    Page("welcome", "/welcome", "First steps", group="Account"),
    Page("members", "/members", "Members", group="Account"),
    Page("audit_log", "/audit-log", "Audit log", need="audit", group="Account", takes_range=True),
    Page("account", "/account", "Account", group="Account"),
    Page("profile", "/profile", "Your profile", need="person", group="Account"),
    Page("accounts_menu", "/account/switch", "Accounts", need="person", under="account"),
    Page("security", "/security", "Security", need="anyone"),
    Page("status", "/status", "Status", need="anyone"),
    Page("login", "/login", "Log in", need="anyone"),
    Page("second_factor", "/second-factor", "Second factor", need="anyone"),
    Page("sign_up", "/sign-up", "Sign up", need="anyone"),
    Page("forgot_password", "/forgot-password", "Forgotten password", need="anyone"),
    Page("reset_password", "/reset-password", "New password", need="anyone"),
    Page("confirm_address", "/confirm-address", "Confirm your address", need="anyone"),
    Page("change_address", "/change-address", "Confirm your new address", need="anyone"),
    Page("accept_invite", "/accept-invite", "Invitation", need="anyone"),
)
BY_NAME: Final = {each.name: each for each in PAGES}
HOME: Final = "/overview"


class MenuEntry(NamedTuple):
    """A page in the menu; `is_current`: it, or a page under it, is the one shown."""

    page: Page
    is_current: bool


def menu_of(pages: Iterable[Page], current: Page) -> list[tuple[Group, list[MenuEntry]]]:
    """The pages by group, in the table's order, without groups that are empty."""
    listed = list(pages)
    marked = current.under or current.name
    grouped = [
        (group, [MenuEntry(each, each.name == marked) for each in listed if each.group == group])
        for group in GROUPS
    ]
    return [(group, entries) for group, entries in grouped if entries]
