"""Usage adds up bucket by bucket, and says what it does not know."""

from metering.usage import Reading, Usage


def test_usages_add_bucket_by_bucket() -> None:
    first = Usage(input_tokens=1, output_tokens=2, cache_write_1h_tokens=3)
    second = Usage(input_tokens=10, cache_read_tokens=20, server_tool_calls=1)

    total = first + second

    assert total == Usage(
        input_tokens=11,
        output_tokens=2,
        cache_read_tokens=20,
        cache_write_1h_tokens=3,
        server_tool_calls=1,
    )


def test_the_prompt_is_all_four_input_buckets() -> None:
    usage = Usage(input_tokens=1, cache_read_tokens=10, cache_write_5m_tokens=100, cache_write_1h_tokens=1000)

    assert usage.prompt_tokens == 1111


def test_a_reported_zero_is_told_apart_from_no_figure() -> None:
    assert Reading(usage=Usage()) != Reading(usage=None)


def test_a_reading_is_estimated_exactly_when_a_method_is_named() -> None:
    assert not Reading(usage=Usage()).is_estimated
    assert Reading(usage=Usage(), estimate_method="delivered_bytes").is_estimated
