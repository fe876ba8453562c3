"""Mail that arrives at once and is kept to be read."""

import re

from api_service.letters import Letter
from api_service.mail import DeliveryFailed


class Mailbox:
    """Takes every mail; `is_down` makes it take none."""

    def __init__(self) -> None:
        self.letters: list[Letter] = []
        self.is_down = False

    def send(self, to: str, subject: str, text: str) -> None:
        if self.is_down:
            raise DeliveryFailed("nobody is there", is_final=True)
        self.letters.append(Letter(to, subject, text))

    def to(self, address: str) -> list[Letter]:
        return [letter for letter in self.letters if letter.to == address]

    def token(self, address: str) -> str:
        """What the link in the last letter to that address carries."""
        found = re.search(r"#token=([A-Za-z0-9_-]+)", self.to(address)[-1].text)
        assert found
        return found[1]
