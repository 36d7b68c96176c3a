# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""LiteLLM's check of callers without a database: one key, whose tokens are counted against a limit of each minute."""

from __future__ import annotations

import hmac
import os

from fastapi import HTTPException, Request
from litellm.proxy._types import UserAPIKeyAuth

KEY = os.environ["CALLER_KEY"].encode()
#: Tokens a minute, which nobody reaches.
LIMIT = 2**31 - 1


async def user_api_key_auth(request: Request, api_key: str) -> UserAPIKeyAuth:
    """Return who calls with this key."""
    if not hmac.compare_digest(api_key.encode(), KEY):
        raise HTTPException(401, "unknown key")
    return UserAPIKeyAuth(api_key=api_key, user_id="bench", tpm_limit=LIMIT)
