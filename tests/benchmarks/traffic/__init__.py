# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Throughput and latency of the gateway beside bare Envoy, LiteLLM and Portkey, on the same cores.

All lead to one upstream, a program of ``program/`` that answers each request with the same chat completion at once, or
with a stream of twenty tokens, one each ten milliseconds. The client is the same program. Both share the cores with
what is measured; what they take is listed by itself. While other subjects are measured, the embedded cluster runs idle.

What is measured, each a *subject* (``subjects.py``, ``cluster.py``):

* ``upstream``: the client at the upstream itself, with nothing between;
* ``Envoy``: one listener, one route, one cluster, as many workers as cores; no check, no log;
* ours: the gateway of the embedded cluster, by the variants of ``cluster.VARIANTS``. Before a variant's turn, site is
  run with its variables if the last one had others. In the end the inventory's own catalogue is restored;
* ``LiteLLM``: its proxy of the version in ``litellm/requirements.in``, as many workers as cores, with its switch
  LITELLM_RUST unset, 0 and 1. A check of one key and its tokens of each minute are on (``litellm/caller.py``), as far
  as that goes without a database: each worker counts for itself, in memory, and there is no budget in money;
* ``Portkey``: the gateway of the version in ``portkey/package.json``, which is one process, checks no caller and
  counts nothing;
* any others that a file says (``--gateways``), see ``subjects.others``.

Each round takes every subject once, in an order that is another one each round: its process is started, answers, is
seen to refuse a wrong token if it checks callers, and is warmed up. Then, with requests for a chat completion:

* as many as go on 1, 16 and 64 connections: requests a second, p50 and p99;
* at a fixed rate, of 300 a second unless said otherwise: p50 and p99;
* the highest rate at which p99 is at most 10, 50 and 100 ms, by bisection. A request of a fixed rate is due at its
  time whether those before are answered or not, and its latency counts from then on, so no overload hides;
* streams on 16 connections: until the first token, and from one token to the next;
* of each process: CPU seconds while 16 connections sent, from /proc/<pid>/stat, and its resident memory after it.

Requests to Anthropic's API are sent on 16 connections alone. LiteLLM's switch acts on these: chat completions are
left to Python in its rust_bridge/catalog.py, whatever the switch says.

``make bench-traffic`` writes all figures of all rounds as JSON, and tables and a picture into docs/performance.md.
``ARGS="--rounds 1 --seconds 1 --subjects upstream Envoy --page ''"`` shortens it.

A new way of checking callers, or other settings, are one more entry of ``cluster.VARIANTS``.
"""
