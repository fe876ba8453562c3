"""What became of the machine's own configuration files."""

from datetime import datetime
from typing import Any

from flask import Response
from pydantic import Field

from api_service.access import needs, visitor
from api_service.answers import answer
from api_service.fields import View, example_of
from api_service.routing import routes_of
from api_service.services import services
from metering.accounts import LOCAL_ACCOUNT_ID
from metering.file_configuration import FileName, State

configuration_files = routes_of("configuration-files")

_FILE_EXAMPLE: dict[str, Any] = {
    "file": "budgets.json",
    "state": "refused",
    "entries": 3,
    "changed_at": "2026-11-21T09:30:00Z",
    "complaints": ["budgets.0.action: give 'block' or 'warn'"],
}


class FileView(View):
    """One file."""

    file: FileName = Field(description="Which file.")
    state: State = Field(
        description="`in_force`; `absent`: there is none; `refused`: it makes no sense as it stands, and what"
        " was last good in it is in force."
    )
    entries: int = Field(description="How many of its entries are in force.")
    changed_at: datetime | None = Field(description="Since when they are; null: there are none.")
    complaints: list[str] = Field(description="Why it was refused, a line each.")


class FilesView(View):
    """The files of the machine's own account; none for other accounts, and none where it is hosted."""

    model_config = example_of({"data": [_FILE_EXAMPLE], "has_more": False, "next_page": None})

    data: list[FileView] = Field(description="The files.")
    has_more: bool = Field(description="Always false: all files are on one page.")
    next_page: str | None = Field(description="Always null.")


@configuration_files.get("/v1/configuration-files", responses={200: FilesView})
@needs("read")
def list_configuration_files() -> Response:
    """List the configuration files of this machine, whether they are in force, and if not, why."""
    is_own = visitor().account_id == LOCAL_ACCOUNT_ID
    data = [
        FileView(
            file=each.file,
            state=each.state,
            entries=each.entries,
            changed_at=each.changed_at,
            complaints=list(each.complaints),
        )
        for each in (services().files().states if is_own else ())
    ]
    return answer(FilesView(data=data, has_more=False, next_page=None))
