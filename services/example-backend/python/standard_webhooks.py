"""Signatures by Standard Webhooks: who sent a request, and that nobody changed it. The node signs each request to the backend so."""

import base64
import binascii
import hashlib
import hmac
import time

# Seconds by which the clocks of node and backend may differ. An older request is one that somebody repeats.
TOLERANCE = 300


class BadSignature(Exception):
    """The request is not from the node."""


def key_of(secret):
    """The bytes of a secret `whsec_...`, as in the settings of the node."""
    return base64.b64decode(secret.removeprefix("whsec_"), validate=True)


def verify(key, headers, body, now=None):
    """Raises `BadSignature` unless the node signed these very bytes just now. `body` is what came, before it is read as JSON."""
    message_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not timestamp.isascii() or not timestamp.isdigit() or abs((now or time.time()) - int(timestamp)) > TOLERANCE:
        raise BadSignature("the time is missing, or too far away")
    signed = b".".join([message_id.encode(), timestamp.encode(), body])
    expected = hmac.new(key, signed, hashlib.sha256).digest()
    # While a secret is replaced there are several signatures, one of each secret.
    for signature in headers.get("webhook-signature", "").split():
        version, _, encoded = signature.partition(",")
        try:
            given = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            continue
        # In constant time: how long a comparison takes tells nobody how much of a guess is right.
        if version == "v1" and hmac.compare_digest(given, expected):
            return
    raise BadSignature("no signature is right")
