"""Calls through the proxy by the providers' own clients, with only base URL and headers changed."""

import anthropic
import openai

from tests.browser.site import Site

MODEL = "claude-sonnet-4-6"


def call_claude(
    site: Site, key: str, prompt: str = "Hello, how much are you?", **headers: str
) -> anthropic.types.Message:
    """A message of Anthropic's client; headers are named without what they begin with."""
    told = {"X-ModelTrack-Key": key, **{f"X-ModelTrack-{name}": value for name, value in headers.items()}}
    with anthropic.Anthropic(
        api_key="sk-of-their-own", base_url=site.proxy_url, default_headers=told, max_retries=0
    ) as client:
        return client.messages.create(
            model=MODEL, max_tokens=200, messages=[{"role": "user", "content": prompt}]
        )


def call_gpt(site: Site, key: str, **headers: str) -> openai.types.chat.ChatCompletion:
    """A chat completion of OpenAI's client; headers likewise."""
    told = {"X-ModelTrack-Key": key, **{f"X-ModelTrack-{name}": value for name, value in headers.items()}}
    with openai.OpenAI(
        api_key="sk-of-their-own", base_url=f"{site.proxy_url}/v1", default_headers=told, max_retries=0
    ) as client:
        return client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Hello"}])
