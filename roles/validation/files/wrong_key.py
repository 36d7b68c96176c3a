# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask the simulator of this pod with a key that is not its own, and print the status of its answer.

Arguments are the path, the name and the value of the header with the key, and the model.
"""

import http.client
import json
import sys

path, header, key, model = sys.argv[1:]
connection = http.client.HTTPConnection("127.0.0.1", 8000, timeout=10)
body = {"model": model, "max_tokens": 1, "messages": [{"role": "user", "content": "Hello"}]}
connection.request("POST", path, json.dumps(body), {"content-type": "application/json", header: key})
print(connection.getresponse().status)
