# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection.

from __future__ import annotations


class ModuleDocFragment:
    """Options of the modules that send requests to a gateway."""

    DOCUMENTATION = r"""
options:
  url:
    description:
      - URL of the gateway, for example V(http://10.245.0.2:30080).
      - An OpenAI base URL, which ends in C(/v1), is accepted too.
    type: str
    required: true
    aliases: [gateway_url]
  token:
    description:
      - Token that is sent as bearer token in the header C(Authorization). It is never returned, shown or logged.
      - No token is sent if it is empty or not given.
    type: str
  validate_certs:
    description: Whether the gateway's certificate must be valid.
    type: bool
    default: true
  ca_path:
    description: File with the trusted certification authorities, in PEM. By default those of the system.
    type: path
  client_cert:
    description: File with the client's certificate for TLS, in PEM.
    type: path
  client_key:
    description: File with the key of O(client_cert), in PEM. By default the key is in the file of O(client_cert).
    type: path
  use_proxy:
    description: Whether to use the HTTP proxy that the environment names.
    type: bool
    default: true
  connect_to:
    description:
      - Address or host name to connect to while the host name of O(url) does not resolve, such as before its DNS record
        exists. The host name of O(url) is still sent, and verified in the certificate.
    type: str
    default: ""
  timeout:
    description: Longest duration of one request, from its start to the end of the answer, in seconds. At least 1.
    type: int
    default: 30
notes:
  - Redirects are not followed and C(.netrc) is not read, so the token is sent to this gateway alone.
"""
