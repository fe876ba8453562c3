"""One gRPC connection to Firestore, made at first use, and its three calls.

The calls go to the channel directly: nothing retries them, and nothing writes documents to a log, as the
library's own wrapper does at the level debug.
"""

import threading
from typing import Any

import grpc
from google.cloud.firestore_v1 import types
from google.cloud.firestore_v1.services.firestore.transports import FirestoreGrpcTransport

from metering.firestore.commits import CommitRequest, CommitResponse
from metering.firestore.queries import RunQueryRequest, RunQueryResponse

BatchGetDocumentsRequest = types.BatchGetDocumentsRequest.pb()
BatchGetDocumentsResponse = types.BatchGetDocumentsResponse.pb()

_SERVICE = "/google.firestore.v1.Firestore"
_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A peer that vanished without a word is noticed within 40 s, and asked for again within 2.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)


class Calls:
    """The calls of one open channel. Each takes (request, timeout, metadata) and raises grpc.RpcError."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel
        self.commit = channel.unary_unary(
            f"{_SERVICE}/Commit",
            request_serializer=CommitRequest.SerializeToString,
            response_deserializer=CommitResponse.FromString,
        )
        self.batch_get = channel.unary_stream(
            f"{_SERVICE}/BatchGetDocuments",
            request_serializer=BatchGetDocumentsRequest.SerializeToString,
            response_deserializer=BatchGetDocumentsResponse.FromString,
        )
        self.run_query = channel.unary_stream(
            f"{_SERVICE}/RunQuery",
            request_serializer=RunQueryRequest.SerializeToString,
            response_deserializer=RunQueryResponse.FromString,
        )


class Connection:
    """Opens the channel when it is first needed.

    So a server may fork between `open_store` and its first call.
    """

    def __init__(self, database: str, emulator_address: str) -> None:
        self._emulator_address = emulator_address
        self._opening = threading.Lock()
        self._calls: Calls | None = None
        # Which database a call is for, said as Google's own clients do, so that it is routed there.
        self.metadata: tuple[tuple[str, str], ...] = (
            ("google-cloud-resource-prefix", database),
            ("x-goog-request-params", f"database={database}"),
        )
        if emulator_address:
            self.metadata += (("authorization", "Bearer owner"),)

    def calls(self) -> Calls:
        """The calls of the open channel."""
        with self._opening:
            if self._calls is None:
                self._calls = Calls(_channel(self._emulator_address))
            return self._calls

    def close(self) -> None:
        """Close the channel; calls under way end as cancelled."""
        with self._opening:
            if self._calls is not None:
                self._calls.channel.close()


def _channel(emulator_address: str) -> Any:
    if emulator_address:
        return grpc.insecure_channel(emulator_address, options=_OPTIONS)
    return FirestoreGrpcTransport.create_channel(FirestoreGrpcTransport.DEFAULT_HOST, options=_OPTIONS)
