#!/usr/bin/python
# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The work is done by the action plugin of the same name, on the controller; this file documents it.

from __future__ import annotations

DOCUMENTATION = r"""
module: catalog
short_description: Check providers, models and tiers and build the catalogue of an AI gateway
version_added: 1.0.0
description:
  - Checks the description of an AI gateway as a whole and returns it with all defaults. The roles of this collection
    render their manifests from the result.
  - Reports all faults at once, each with the path of the variable, the problem and the remedy.
  - The options are the variables of the role P(egress.ai_gateway.catalog#role) without their prefix C(ai_gateway_),
    with which the paths begin. That role documents their keys.
  - Never returns, shows or logs the value of a credential.
author: Contributors to the egress.ai_gateway project (!UNKNOWN)
extends_documentation_fragment:
  - egress.ai_gateway.attributes
  - egress.ai_gateway.attributes.reader
attributes:
  check_mode:
    support: full
options:
  platform:
    description: The kind of cluster.
    type: str
    choices: [embedded, kind, openshift, kubernetes]
    default: kubernetes
  stack:
    description: The implementation of the gateway that forwards requests to the providers.
    type: str
    choices: [envoy_ai_gateway, wg_ai_gateway]
    default: envoy_ai_gateway
  policy_engine:
    description:
      - The policy engine that enforces the access rules.
      - By default V(kuadrant) on OpenShift with O(stack=wg_ai_gateway), and V(authorino) elsewhere.
    type: str
    choices: [authorino, kuadrant]
  namespace:
    description: Namespace of the Gateway, its routes, backends, policies and Secrets.
    type: str
    default: ai-gateway
  name:
    description:
      - Name of the clients' Gateway, and first part of the names of the tiers' namespaces and of the tokens' audience.
      - By default V(ai-gateway), and V(maas-default-gateway) with O(stack=wg_ai_gateway).
    type: str
  maas_gateway_namespace:
    description: Namespace of the existing clients' Gateway with O(policy_engine=kuadrant).
    type: str
    default: openshift-ingress
  egress_gateway:
    description: Name of the second Gateway of O(stack=wg_ai_gateway), in O(egress_namespace).
    type: str
    default: egress-gateway
  egress_namespace:
    description:
      - Namespace of the second Gateway and of its routes and backends.
      - By default O(namespace) with V(-egress) after it.
    type: str
  maas_api:
    description:
      - Whether the models are registered with a maas-api that runs in the cluster.
      - By default V(true) with O(stack=wg_ai_gateway), and V(false) elsewhere.
    type: bool
  maas_api_namespace:
    description: Namespace of maas-api.
    type: str
    default: opendatahub
  simulators_namespace:
    description: Namespace of the simulators.
    type: str
    default: external-models
  envoy_gateway_namespace:
    description: Namespace of Envoy Gateway and its proxies.
    type: str
    default: ai-gateway-envoy-gateway
  envoy_ai_gateway_namespace:
    description: Namespace of the controller of Envoy AI Gateway.
    type: str
    default: ai-gateway-envoy-ai-gateway
  authorino_namespace:
    description: Namespace of Authorino with O(policy_engine=authorino).
    type: str
    default: ai-gateway-authorino
  kuadrant_namespace:
    description: Namespace of Kuadrant's operator and its Authorino with O(policy_engine=kuadrant).
    type: str
    default: kuadrant-system
  providers:
    description: The providers outside the cluster.
    type: list
    elements: dict
    default: []
  models:
    description: The models on the premises.
    type: list
    elements: dict
    default: []
  mcp_servers:
    description: The servers of tools that speak the Model Context Protocol.
    type: list
    elements: dict
    default: []
  inference_pools:
    description: The InferencePools to create, which models on the premises name as V(backend_ref) in O(models).
    type: list
    elements: dict
    default: []
  semantic_router:
    description: What chooses a model for requests that name none. An empty mapping is none.
    type: dict
    default: {}
  prices:
    description:
      - What a million tokens of each model cost, with C(input), C(output) and C(cached_input), by the model's public
        name.
    type: dict
    default: {}
  currency:
    description: The currency of O(prices), by its code of ISO 4217.
    type: str
    default: ""
  tiers:
    description: The tiers of users.
    type: list
    elements: dict
    default: []
  callers:
    description: Whose credentials the gateway accepts, besides ServiceAccounts that Authorino reviews.
    type: list
    elements: dict
    default: []
  observability:
    description: What the gateway reports about its requests, metrics and spans. An empty mapping is nothing.
    type: dict
    default: {}
  allowed_endpoints:
    description:
      - Host names, IP addresses and CIDR ranges that providers may have although they appear to be inside the cluster.
    type: list
    elements: str
    default: []
  cluster_networks:
    description: CIDR ranges of the cluster's pods, Services and nodes that are not private addresses.
    type: list
    elements: str
    default: []
  uncounted_tokens:
    description:
      - The tokens to count for an answer whose tokens cannot be counted.
      - A number of tokens, or V(estimated), which estimates them from the answer's bytes.
    type: raw
    default: estimated
  request_body_limit:
    description: The largest body of a request, as a Kubernetes quantity. No part of the gateway takes a larger one.
    type: str
    default: 50Mi
  allow_empty:
    description: Whether to accept a description without models or tiers, for callers that need only the names.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Check one provider and one tier
  egress.ai_gateway.catalog:
    platform: kind
    providers:
      - name: openai
        schema: openai
        endpoint: {hostname: api.openai.com}
        credential: {secret: openai-key}
        models:
          - {name: gpt-4, provider_model: gpt-4-0613}
    tiers:
      - name: free
        level: 0
        groups: [system:authenticated]
        token_limit: {tokens: 100, window: 1m}
  register: result

- name: Show the names of its models
  ansible.builtin.debug:
    msg: "{{ result.catalog.models | map(attribute='name') }}"
"""

RETURN = r"""
catalog:
  description: The description with all defaults. It holds names of Secrets and no value of a credential.
  returned: success
  type: dict
  contains:
    platform:
      description: As given.
      type: str
    stack:
      description: As given.
      type: str
    policy_engine:
      description: As given, or the default of O(policy_engine).
      type: str
    namespace:
      description: As given.
      type: str
    name:
      description: As given.
      type: str
    audience:
      description: Audience that tokens of callers must carry.
      type: str
      sample: ai-gateway-sa
    identity_key:
      description:
        - The key by which callers' names become values that providers may receive.
        - C(namespace) and C(secret) name its Secret, C(key) is the key in the Secret's data, and C(file) is the file
          that the proxies read.
      type: dict
      sample:
        namespace: ai-gateway-envoy-gateway
        secret: ai-gateway.ai-gateway.identity-key
        key: key
        file: /run/ai-gateway/key
    gateway_namespace:
      description: Namespace of the clients' Gateway.
      type: str
      sample: ai-gateway
    egress_gateway:
      description:
        - The second gateway of O(stack=wg_ai_gateway). Null with O(stack=envoy_ai_gateway).
        - It has a C(name), C(namespace) and C(class_name), the C(service), C(hostname) and C(port) of its proxies, and
          the allowed destinations as C(egress), in the form of RV(catalog.egress).
      type: dict
    maas_api:
      description: Whether models are registered with maas-api as C(enabled), and its C(namespace).
      type: dict
      sample: {enabled: false, namespace: opendatahub}
    simulators_namespace:
      description: As given.
      type: str
    controller_namespaces:
      description: The namespaces of all controllers, also of those that the stack and the policy engine do not use.
      type: dict
      sample:
        envoy_gateway: ai-gateway-envoy-gateway
        envoy_ai_gateway: ai-gateway-envoy-ai-gateway
        authorino: ai-gateway-authorino
        kuadrant: kuadrant-system
        wg_ai_gateway: ai-gateway-system
    currency:
      description: The code of the currency of the prices, or an empty string.
      type: str
      sample: EUR
    uncounted_tokens:
      description: Tokens to count for an answer whose tokens cannot be counted, or 0 to estimate them from its bytes.
      type: int
      sample: 0
    request_body_limit:
      description: The largest body of a request, in bytes.
      type: int
      sample: 52428800
    providers:
      description:
        - The providers. The endpoint of a simulated provider is its simulator.
        - With O(stack=wg_ai_gateway), C(egress_endpoint) is the endpoint that the clients' gateway calls, in the form
          of C(endpoint).
        - C(schema_name) is the name of its API in an AIServiceBackend. C(project), C(region) and C(api_version) are
          there with the schemas that have them, and so are C(client_id), C(tenant_id) and C(federation) in
          C(credential) with the forms that do.
        - C(cloud) is the cloud whose credentials it needs, or an empty string. C(has_prefix) is true if
          C(endpoint.prefix) comes before the API's paths. C(answers) says whether the answers are those of Anthropic's
          API as C(anthropic), whether Envoy AI Gateway alone can read them as C(foreign), and whether errors have a
          form of their own as C(own_errors).
        - C(credential.managed) is true if the Secret is rendered from the inventory's value. With an empty
          C(credential.scheme), the header holds only the key.
      type: list
      elements: dict
      sample:
        - name: openai
          schema: openai
          schema_name: OpenAI
          simulated: false
          endpoint:
            hostname: api.openai.com
            port: 443
            address: false
            prefix: /v1
            tls: {mode: simple, sni: api.openai.com, ca_bundle: "", ca_certificates: "", client_certificate: ""}
          headers: {}
          credential:
            {header: Authorization, scheme: Bearer, secret: openai-key, key: apiKey, managed: false, form: api_key}
          models:
            - {name: gpt-4, provider_model: gpt-4-0613}
          backend: openai.bdbe5bc1
          cloud: ""
          has_prefix: true
          answers: {anthropic: false, foreign: false, own_errors: false}
    models:
      description:
        - The public models, each once. Models of providers come first.
        - The C(name) of one of C(backends) is its C(provider), or that of the object made for its C(backend_ref) when
          the model is on the premises.
        - C(backend_ref) has C(kind), C(name) and C(namespace) of the object, C(hostname), C(port) and C(tls) of the
          Service to call, the C(spec) of an LLMInferenceService to create, and the name of the C(simulator) in its
          place, or an empty string.
        - Each of C(routes) is an AIGatewayRoute with its C(name) and its C(backends) by the names of their objects. Its
          C(providers) are the names that a request's path may have, with V(*) for all paths that name no provider. With
          other backends or endpoints a model has other routes. A model of an InferencePool has none, as the pool has
          one route for all its models.
        - C(objective) names the InferenceObjective of the model's requests, where it has one.
        - C(price) is what a million tokens cost, with C(input), C(output) and C(cached_input), where the inventory says
          it.
      type: list
      elements: dict
      sample:
        - name: gpt-4
          backends:
            - {name: openai, provider: openai, provider_model: gpt-4-0613, weight: 1, priority: 0}
          routes:
            - name: gpt-4-b990f043
              providers: ["*", openai]
              backends:
                - {name: openai.bdbe5bc1, provider_model: gpt-4-0613, weight: 1, priority: 0}
    tiers:
      description:
        - The tiers, with their namespaces, all their limits and the names of all their models. C(restricted) is true
          if the tier names its models. C(objective) names the InferenceObjective of its requests, where it has one.
        - A limit counts V(total_tokens), V(input_tokens), V(output_tokens), V(cost) in millionths of the currency, or
          V(requests), of one C(model), or of all models together if C(model) is empty.
        - C(mcp_tools) has the tools of each MCP server that the tier may call, C(every) tool of the C(server), or those
          with one of the C(names) or a name that begins with one of the C(prefixes).
      type: list
      elements: dict
      sample:
        - name: free
          level: 0
          groups: [system:authenticated]
          namespace: ai-gateway-tier-free
          limits:
            - {measure: total_tokens, amount: 100, window: 1m, unit: Minute, seconds: 60, model: ""}
          models: [gpt-4]
          restricted: false
          mcp_tools:
            - {server: weather, every: false, names: [forecast], prefixes: []}
    secrets:
      description:
        - The Secrets that must exist on the cluster, as the description names them and no role creates them. C(users)
          need the C(keys) of their data.
      type: list
      elements: dict
      sample:
        - {name: openai-key, namespace: ai-gateway, keys: [apiKey], users: [provider openai]}
    egress:
      description:
        - The destinations that the proxies of the clients' gateway may call. C(peers) are those of a NetworkPolicy. A
          C(port) of V(null) means all ports.
      type: list
      elements: dict
      sample:
        - name: simulators
          port: 8000
          peers:
            - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: external-models}}
              podSelector: {matchLabels: {app.kubernetes.io/name: provider-simulator}}
    mcp_servers:
      description:
        - The servers of tools. The endpoint of a simulated server is its simulator. C(path) is that at the server, and
          the endpoint's C(prefix) has no meaning. Without a key there is no C(credential).
        - C(include) are the names of the tools that the server has for clients, all if it is empty, and C(exclude)
          those that it has for nobody.
      type: list
      elements: dict
      sample:
        - name: weather
          simulated: false
          endpoint:
            hostname: mcp.example.com
            port: 443
            address: false
            prefix: /
            tls: {mode: simple, sni: mcp.example.com, ca_bundle: "", ca_certificates: "", client_certificate: ""}
          path: /mcp
          credential:
            {header: Authorization, scheme: Bearer, secret: weather-key, key: apiKey, managed: false, form: api_key}
          include: []
          exclude: [delete_everything]
    mcp_authorization:
      description: The conditions under which a tool may be called, as CEL expressions of an MCPRoute's rules.
      type: list
      elements: str
      sample: ['request.headers["x-ai-gateway-mcp-tier"] == "free" && (request.mcp.backend == "weather")']
    inference_pools:
      description:
        - The InferencePools, those of O(inference_pools) with C(managed=true), then those that models name and the
          cluster has.
        - C(backend) is their name in the C(backends) of models, C(route) that of their AIGatewayRoute, and C(models)
          are the public names of the models that they serve.
        - Those that are C(managed) have C(target_port), C(selector), C(objectives), the endpoint C(picker) with its
          C(config), a C(simulator) or null, and a C(direct_hostname) or an empty string.
      type: list
      elements: dict
    semantic_router:
      description:
        - What chooses a model for requests for C(model), or null. C(mode) is V(single_gateway), where the gateway asks
          it, or V(dual_gateway), where it has a gateway of its own; C(by_path) says whether the path leads to that.
        - C(models) are those that it may choose, with the endpoints that its own gateway calls, and C(tiers) the names
          of the tiers that may ask it.
        - C(body_limit) is the largest body of a request for it, in bytes, and C(requests_at_once) the number of
          requests about which it is asked at once.
        - C(fallback) is V(deny), or the model in place of one that a tier may not use. C(config) is its configuration,
          in the schema of its project, and C(classifiers) says whether it loads models for that.
      type: dict
    callers:
      description:
        - Whose credentials the gateway accepts. C(service_accounts) says how those of ServiceAccounts are checked, and
          C(oidc) are the issuers whose users may come in.
        - C(checks) are the checks that the proxies do themselves, each with its C(name), C(issuer), C(audiences),
          C(signing_keys), and C(hostname) and C(port) of what has the keys.
        - C(api_keys) are C(prefix) and C(maximum_lifetime) of API keys, or null where no caller may have one.
      type: dict
    observability:
      description:
        - What the gateway reports about its requests. C(enabled) says whether it counts them by tier, user, model and
          provider; C(users) is the number of users that have a label of their own, 0 for none.
        - C(scrapers) are those who may read the metrics, as peers of a NetworkPolicy.
        - C(traces) has C(hostname), C(port) and C(tls) of the collector of spans, C(sampling) in percent, and
          C(content), which says whether prompts and answers are exported; or it is null.
      type: dict
    paths:
      description:
        - The paths of the APIs that are served. C(api) is the value of header C(x-ai-gateway-api), C(usage) which usage
          its answers report, C(limited) whether a tier needs a request limit, C(known_as) the path that Envoy AI
          Gateway knows it by, or an empty string.
        - C(refused) says by the schema of a provider why its models are not served there.
      type: list
      elements: dict
      sample:
        - path: /v1/messages
          api: anthropic
          usage: messages
          limited: false
          known_as: ""
          refused: {cohere: its provider reranks documents. Use /cohere/v2/rerank}
    refused_paths:
      description: Beginnings of paths that are refused for every model, and why.
      type: dict
      sample: {/v1/files: It needs a store behind one provider.}
    headers:
      description:
        - Names of request headers, in lower case. C(tokens) are the headers that may hold a caller's token.
        - C(removed_at_listener), C(removed_after_authorization), C(removed_at_backend) and C(removed_at_bridge) are the
          headers removed at these places.
        - After authorization, headers of the C(families) are removed too, which are C(x-<family>-<more>) except those
          in C(kept), and headers whose name ends in C(key_suffix).
        - C(refusal) is the response header in which the proxies report, for their filters alone, why they answered
          themselves.
      type: dict
      sample: {tokens: [authorization, x-api-key], key_suffix: -api-key, refusal: x-ai-gateway-refusal}
faults:
  description: The faults, in the order of the paths. The message has a line for each.
  returned: failure
  type: list
  elements: dict
  contains:
    path:
      description: Path of the variable.
      type: str
      sample: ai_gateway_providers[1].models[0].name
    problem:
      description: The problem.
      type: str
      sample: '"GPT 4" is not a model''s name'
    remedy:
      description: The remedy.
      type: str
      sample: 'write letters, digits and . _ : / @ + - with a letter or digit at both ends, for example "GPT-4"'
"""
