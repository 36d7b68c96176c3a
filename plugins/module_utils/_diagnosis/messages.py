# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalogue of what a diagnosis may find, as data. docs/diagnosis.md is written from it."""

from __future__ import annotations

import string
import typing as t
from dataclasses import dataclass

ERROR, WARNING, INFO = "Error", "Warning", "Info"
#: From the gravest to the least.
LEVELS = (ERROR, WARNING, INFO)

_AI_GATEWAY = "https://aigateway.envoyproxy.io/docs/"
_ENVOY_GATEWAY = "https://gateway.envoyproxy.io/docs/"
_ENVOY = "https://www.envoyproxy.io/docs/envoy/latest/"
_GATEWAY_API = "https://gateway-api.sigs.k8s.io/"
_INFERENCE = "https://gateway-api-inference-extension.sigs.k8s.io/"
_ISSUES = "https://github.com/envoyproxy/ai-gateway/issues/"


@dataclass(frozen=True)
class Message:
    """One fault that a rule can find."""

    #: As in AIG0001; it never changes its meaning.
    code: str
    #: In one word.
    name: str
    level: str
    #: One sentence with the ``arguments`` in braces.
    template: str
    cause: str
    cure: str
    #: The next command, with ``arguments`` in braces.
    command: str
    reference: str
    #: Codes of the faults that follow from this one.
    explains: tuple[str, ...] = ()

    @property
    def arguments(self) -> tuple[str, ...]:
        """The names in the template and the command, in the order in which they occur."""
        names = [
            name
            for part in (self.template, self.command)
            for _literal, name, _format, _conversion in string.Formatter().parse(part)
            if name
        ]
        return tuple(dict.fromkeys(names))


_ROUTE_FAULTS = ("AIG0301", "AIG0302", "AIG0303")

#: Shows a certificate, and not its key.
_SHOW_CERTIFICATE = (
    "kubectl get secret --namespace {namespace} {name} --output jsonpath='{{.data.tls\\.crt}}' | base64 --decode | "
    "openssl x509 -noout -subject -dates -ext subjectAltName"
)

MESSAGES: tuple[Message, ...] = (
    # Versions and controllers.
    Message(
        "AIG0001",
        "TwoListenersOnOnePort",
        ERROR,
        "Envoy AI Gateway {version} serves only the first of the HTTPS listeners {listeners} on port {port} of Gateway "
        "{gateway}",
        "Before v0.5.0, Envoy AI Gateway stops at the first route configuration that it wires to its processor. Envoy "
        "Gateway gives each HTTPS listener a route configuration of its own, so the processor is off on all listeners "
        "but one. A request there reaches the processor of the upstream without an identifier, which ends the stream, "
        "and the client waits until its timeout.",
        "Upgrade Envoy AI Gateway to v0.5.0 or newer. Until then, use one HTTPS listener a port, with a certificate "
        "for all its names.",
        "kubectl get deployments --all-namespaces --selector app.kubernetes.io/name=ai-gateway-helm --output wide",
        f"{_ISSUES}1610",
        ("AIG0103", "AIG0104", "AIG0105"),
    ),
    Message(
        "AIG0002",
        "VersionsDoNotFit",
        ERROR,
        "Envoy AI Gateway {ai_gateway} does not work with Envoy Gateway {envoy_gateway}: {reason}",
        "Both controllers share an interface that changes between versions.",
        "Install a pair of versions that fit; role versions of this collection has one.",
        "kubectl get deployments --all-namespaces --output wide",
        f"{_AI_GATEWAY}compatibility",
        ("AIG0101", "AIG0103", "AIG0104", "AIG0204", "AIG0105", *_ROUTE_FAULTS),
    ),
    Message(
        "AIG0003",
        "ControllerAway",
        ERROR,
        "{component} is away: Deployment {deployment} has {available} of {wanted} pods available{detail}",
        "Without its controller, nothing that changes reaches the proxies. They go on with what they have.",
        "Look at the events and the log of its pods.",
        "kubectl describe deployment --namespace {namespace} {name}",
        f"{_ENVOY_GATEWAY}troubleshooting/",
        ("AIG0102", "AIG0103", "AIG0104", "AIG0201", "AIG0202", "AIG0204", "AIG0304", *_ROUTE_FAULTS),
    ),
    Message(
        "AIG0004",
        "ContainerRestarts",
        WARNING,
        "Container {container} of pod {pod} has restarted {restarts} times, last {reason}",
        "A container that ends takes the requests that it handles with it.",
        "Read what it wrote before it ended. OOMKilled means that its memory limit is too low.",
        "kubectl logs --namespace {namespace} {name} --container {container} --previous",
        "https://kubernetes.io/docs/tasks/debug/debug-application/",
    ),
    Message(
        "AIG0005",
        "TwoControllersOfOneName",
        ERROR,
        "Several Envoy Gateways have the controller name {controller_name}: {deployments}",
        "Each of them takes the Gateways of that name for its own, and they undo each other's changes.",
        "Give each Envoy Gateway a controller name of its own (ai_gateway_controller_name), or remove one.",
        "kubectl get configmaps --all-namespaces --field-selector metadata.name=envoy-gateway-config",
        f"{_ENVOY_GATEWAY}tasks/operations/deployment-mode/",
        ("AIG0006", "AIG0201", "AIG0202", "AIG0301", "AIG0308", "AIG0311"),
    ),
    Message(
        "AIG0006",
        "OtherControllerOnGateway",
        WARNING,
        "{object} has a status of controller {controller} for Gateway {gateway}, whose own controller is {own}",
        "Another controller acts on objects of this gateway.",
        "Remove the other controller, or the reference to its Gateway class.",
        "kubectl get --namespace {namespace} {resource} {name} --output yaml",
        f"{_GATEWAY_API}concepts/conformance/",
    ),
    Message(
        "AIG0007",
        "FieldsOfAnotherManager",
        WARNING,
        "{manager} has changed fields of {object}, which belongs to a set of this collection",
        "Another program or a person has written fields that site renders, so that the object is not what the "
        "inventory describes.",
        "Run site, which says what conflicts, and bring the change into the inventory or stop the other writer.",
        "kubectl get --namespace {namespace} {resource} {name} --show-managed-fields --output yaml",
        "https://kubernetes.io/docs/reference/using-api/server-side-apply/",
    ),
    Message(
        "AIG0008",
        "TwoAIGatewayControllers",
        ERROR,
        "Several Envoy AI Gateways watch the namespace {namespace}: {deployments}",
        "Each of them writes the HTTPRoutes of the same AIGatewayRoutes, in turn.",
        "Limit each to its own namespaces with the value controller.watch.namespaces of its chart, or remove one.",
        "kubectl get deployments --all-namespaces --selector app.kubernetes.io/name=ai-gateway-helm",
        f"{_AI_GATEWAY}getting-started/installation",
        ("AIG0007",),
    ),
    # How the processor is wired.
    Message(
        "AIG0101",
        "HooksNotWired",
        ERROR,
        "Envoy Gateway does not ask Envoy AI Gateway about the configuration of {gateway}: {detail}",
        "Envoy Gateway calls Envoy AI Gateway only where its own configuration names it as extension manager with "
        "hooks. Without them the proxies have no processor, and no body is read.",
        "Set extensionManager in Envoy Gateway's configuration with the hooks listener, route, cluster and secret and "
        "the service of Envoy AI Gateway, then restart Envoy Gateway. Role controllers does so.",
        "kubectl get configmap --namespace {namespace} envoy-gateway-config --output yaml",
        f"{_ISSUES}2560",
        ("AIG0102", "AIG0103", "AIG0104", "AIG0304", "AIG0105"),
    ),
    Message(
        "AIG0102",
        "UpstreamFilterMissing",
        ERROR,
        "Cluster {cluster} of proxy {pod} lacks the processor's filter",
        "The processor translates a request and adds the provider's key in a filter of the cluster. Without it the "
        "request goes to the provider unchanged and without a key.",
        "Look at the log of Envoy AI Gateway for the cluster, then restart it.",
        "kubectl logs --namespace {namespace} deployment/{controller}",
        f"{_ISSUES}2560",
    ),
    Message(
        "AIG0103",
        "ExtProcNotOnRoute",
        ERROR,
        "{count} of the {total} routes of AIGatewayRoutes in {route_config} of proxy {pod} do not turn the processor "
        "on, such as {route}",
        "A route of an AIGatewayRoute needs the processor's filter in its own configuration, as the filter is off by "
        "default.",
        "Look at the log of Envoy AI Gateway, then restart it, so that Envoy Gateway asks it anew.",
        "kubectl rollout restart --namespace {namespace} deployment/{controller}",
        f"{_ISSUES}2560",
        ("AIG0105",),
    ),
    Message(
        "AIG0104",
        "ExtProcNotOnListener",
        ERROR,
        "Listener {listener} of proxy {pod} serves routes of AIGatewayRoutes and lacks the processor's filter",
        "Every listener with such routes needs the filter in its HTTP connection manager.",
        "Look at the log of Envoy AI Gateway, then restart it, so that Envoy Gateway asks it anew.",
        "kubectl rollout restart --namespace {namespace} deployment/{controller}",
        f"{_ISSUES}1708",
        ("AIG0105",),
    ),
    Message(
        "AIG0105",
        "ExtProcStreamsFail",
        ERROR,
        "The processor has answered none of the {started} streams of {place} of proxy {pod}",
        "Each stream was opened, one message was sent and none came back. The processor ended them, as it does where "
        "the listener's part of it did not see the request, or it cannot be reached.",
        "See what else is found of this proxy. If nothing is, read the log of the processor.",
        "kubectl logs --namespace {namespace} {name} --container ai-gateway-extproc",
        f"{_ENVOY}configuration/http/http_filters/ext_proc_filter",
    ),
    Message(
        "AIG0106",
        "SidecarMissing",
        ERROR,
        "Proxy {pod} has no container ai-gateway-extproc",
        "Envoy AI Gateway adds its processor to the pods of proxies by a webhook, when they are created. A pod that is "
        "older than the first AIGatewayRoute, or that was created while the webhook did not answer, has none.",
        "Restart the proxies, so that their pods are created anew.",
        "kubectl rollout restart --namespace {namespace} deployment/{deployment}",
        f"{_ISSUES}1495",
        ("AIG0105", "AIG0108"),
    ),
    Message(
        "AIG0107",
        "SidecarNotReady",
        ERROR,
        "The processor of proxy {pod} is not ready: {reason}",
        "Without its processor a proxy answers no request for a model.",
        "Read its log.",
        "kubectl logs --namespace {namespace} {name} --container ai-gateway-extproc",
        f"{_AI_GATEWAY}concepts/architecture/data-plane",
        ("AIG0105", "AIG0108", "AIG0206"),
    ),
    Message(
        "AIG0108",
        "SocketMissing",
        ERROR,
        "Proxy {pod} finds no socket of the processor: {line}",
        "The proxy is configured for the processor, which does not listen in its pod.",
        "Restart the proxies, so that their pods are created anew.",
        "kubectl rollout restart --namespace {namespace} deployment/{deployment}",
        f"{_ISSUES}1495",
        ("AIG0105",),
    ),
    Message(
        "AIG0109",
        "ExtProcOverloaded",
        WARNING,
        "Proxy {pod} has kept {overflows} requests from the processor, as {limit} ran at the same time",
        "The circuit breaker of the processor's cluster lets a fixed number of requests through.",
        "Run more proxies (gateway_replicas).",
        "kubectl get pods --namespace {namespace} {name}",
        "https://github.com/envoyproxy/ai-gateway/pull/1884",
    ),
    Message(
        "AIG0110",
        "WebhookCertificate",
        ERROR,
        "The API server cannot trust the webhook {webhook}: {detail}",
        "The webhook adds the processor to new pods of proxies. Its certificate and the CA in its configuration were "
        "made anew at different times, as a chart does that is rendered again.",
        "Run site, which keeps the certificate and writes the CA that fits, and then restart the proxies that have no "
        "processor.",
        "kubectl get mutatingwebhookconfiguration {webhook} --output yaml",
        f"{_AI_GATEWAY}getting-started/installation",
        ("AIG0106", "AIG0108", "AIG0105", "AIG0107", "AIG0111", "AIG0201", "AIG0206"),
    ),
    Message(
        "AIG0111",
        "PodsRefusedByWebhook",
        ERROR,
        "Pods of {object} cannot be created: {line}",
        "The API server creates no pod while a webhook that must judge it does not answer.",
        "See that the webhook's Service has a ready pod and that its certificate fits.",
        "kubectl get events --namespace {namespace} --field-selector reason=FailedCreate",
        "https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/",
        ("AIG0201", "AIG0206"),
    ),
    Message(
        "AIG0112",
        "WebhookMissing",
        ERROR,
        "No webhook adds the processor to pods in namespace {namespace}",
        "Envoy AI Gateway adds its processor by a mutating webhook. It is not there, or it selects other namespaces.",
        "Install the chart of Envoy AI Gateway again, or run site.",
        "kubectl get mutatingwebhookconfigurations",
        f"{_AI_GATEWAY}getting-started/installation",
        ("AIG0106", "AIG0108", "AIG0105"),
    ),
    Message(
        "AIG0113",
        "MessageTooLarge",
        ERROR,
        "A message between Envoy Gateway and Envoy AI Gateway exceeds the limit of gRPC: {line}",
        "Envoy Gateway sends all of a gateway's configuration in one message, which gRPC refuses above 4 MiB unless "
        "both sides allow more. Changes do not reach the proxies any more.",
        "Raise extensionManager.maxMessageSize of Envoy Gateway and maxRecvMsgSize of Envoy AI Gateway together.",
        "kubectl logs --namespace {namespace} deployment/{name}",
        f"{_ENVOY_GATEWAY}api/extension_types/#extensionmanager",
        ("AIG0102", "AIG0103", "AIG0104", "AIG0101", "AIG0105", "AIG0304"),
    ),
    Message(
        "AIG0114",
        "MessageNearLimit",
        WARNING,
        "The configuration of proxy {pod} has {size} of the {limit} that {component} accepts in a message",
        "Envoy Gateway sends all of a gateway's configuration in one message. Above the limit, changes do not reach "
        "the proxies any more.",
        "Raise extensionManager.maxMessageSize of Envoy Gateway and maxRecvMsgSize of Envoy AI Gateway together, or "
        "divide the providers among several gateways.",
        "kubectl get configmap --namespace {namespace} envoy-gateway-config --output yaml",
        f"{_ENVOY_GATEWAY}api/extension_types/#extensionmanager",
    ),
    Message(
        "AIG0115",
        "FilterConfigurationNearLimit",
        WARNING,
        "Secret {secret} with the processor's configuration has {size} of 1 MiB",
        "Envoy AI Gateway writes the configuration of a gateway's processor into one Secret, and the API server "
        "accepts 1 MiB. Above it, new models and keys do not reach the processor.",
        "Divide the providers among several gateways.",
        "kubectl get secret --namespace {namespace} {name}",
        "https://kubernetes.io/docs/concepts/configuration/secret/",
    ),
    Message(
        "AIG0116",
        "FilterConfigurationTooLarge",
        ERROR,
        "Envoy AI Gateway cannot write the processor's configuration: {line}",
        "The configuration of a gateway's processor is one Secret, and the API server accepts 1 MiB.",
        "Divide the providers among several gateways.",
        "kubectl logs --namespace {namespace} deployment/{name}",
        "https://kubernetes.io/docs/concepts/configuration/secret/",
        ("AIG0115",),
    ),
    # Gateways, listeners, certificates, proxies.
    Message(
        "AIG0200",
        "GatewayMissing",
        ERROR,
        "Gateway {gateway} does not exist",
        "Nothing listens for clients.",
        "Run site, or correct the name.",
        "kubectl get gateways --all-namespaces",
        f"{_GATEWAY_API}api-types/gateway/",
        _ROUTE_FAULTS,
    ),
    Message(
        "AIG0201",
        "GatewayNotProgrammed",
        ERROR,
        "Gateway {gateway} is not {condition}: {reason}: {detail}",
        "The controller has not accepted the Gateway, or its proxies do not run.",
        "See the message of the condition.",
        "kubectl describe gateway --namespace {namespace} {name}",
        f"{_GATEWAY_API}api-types/gateway/",
    ),
    Message(
        "AIG0202",
        "GatewayClassNotAccepted",
        ERROR,
        "GatewayClass {gateway_class} of Gateway {gateway} {detail}",
        "Only a controller that accepts the class of a Gateway acts on it.",
        "Compare the controllerName of the class with that of Envoy Gateway's configuration.",
        "kubectl describe gatewayclass {gateway_class}",
        f"{_GATEWAY_API}api-types/gatewayclass/",
        ("AIG0006", "AIG0201", *_ROUTE_FAULTS),
    ),
    Message(
        "AIG0203",
        "ListenersInConflict",
        ERROR,
        "Listener {listener} of Gateway {gateway} conflicts with another: {reason}: {detail}",
        "Two listeners share a port with the same hostname or another protocol. The controller serves one or none of "
        "them.",
        "Give each listener of a port its own hostname, and the same protocol.",
        "kubectl describe gateway --namespace {namespace} {name}",
        f"{_GATEWAY_API}reference/spec/#listener",
        ("AIG0201", "AIG0204", "AIG0301"),
    ),
    Message(
        "AIG0204",
        "ListenerNotResolved",
        ERROR,
        "Listener {listener} of Gateway {gateway} is not {condition}: {reason}: {detail}",
        "The controller cannot use the listener as it is described.",
        "See the message of the condition.",
        "kubectl describe gateway --namespace {namespace} {name}",
        f"{_GATEWAY_API}reference/spec/#listener",
        ("AIG0201", "AIG0301"),
    ),
    Message(
        "AIG0205",
        "ProxyRejectsConfiguration",
        ERROR,
        "Proxy {pod} rejects {kind} {name}: {detail}",
        "Envoy has refused what Envoy Gateway sent and goes on with what it had.",
        "Correct what the message names: often a program or a patch of a policy.",
        "kubectl get envoypatchpolicies,envoyextensionpolicies --all-namespaces",
        f"{_ENVOY}api-docs/xds_protocol",
        ("AIG0103", "AIG0104", "AIG0304"),
    ),
    Message(
        "AIG0206",
        "ProxyNotReady",
        ERROR,
        "No proxy of Gateway {gateway} is ready{detail}",
        "Nothing answers clients.",
        "Look at the events of the pods.",
        "kubectl describe pods --namespace {namespace} --selector {selector}",
        f"{_ENVOY_GATEWAY}troubleshooting/",
        ("AIG0201", "AIG0207"),
    ),
    Message(
        "AIG0207",
        "SomeProxiesNotReady",
        WARNING,
        "{ready} of {wanted} proxies of Gateway {gateway} are ready{detail}",
        "The other proxies carry the load of those.",
        "Look at the events of the pods.",
        "kubectl describe pods --namespace {namespace} --selector {selector}",
        f"{_ENVOY_GATEWAY}troubleshooting/",
    ),
    Message(
        "AIG0208",
        "CertificateExpired",
        ERROR,
        "The certificate in Secret {secret}, for {use}, has expired at {expires}",
        "Clients refuse an expired certificate.",
        "Renew it: run site for an own certification authority, see cert-manager's Certificate, or give the next "
        "certificate to the inventory or the Secret that it names.",
        _SHOW_CERTIFICATE,
        "https://cert-manager.io/docs/troubleshooting/",
        ("AIG0503", "AIG0502", "AIG0209", "AIG0111", "AIG0106", "AIG0204", "AIG0201"),
    ),
    Message(
        "AIG0209",
        "CertificateExpires",
        WARNING,
        "The certificate in Secret {secret}, for {use}, expires at {expires}",
        "It should have been renewed by now.",
        "Renew it: run site for an own certification authority, see cert-manager's Certificate, or give the next "
        "certificate to the inventory or the Secret that it names.",
        _SHOW_CERTIFICATE,
        "https://cert-manager.io/docs/troubleshooting/",
    ),
    Message(
        "AIG0210",
        "CertificateDoesNotMatch",
        ERROR,
        "The certificate in Secret {secret} does not fit {use}: {detail}",
        "Clients refuse a certificate that is not for the name that they ask for, and a listener cannot use one whose "
        "key is another.",
        "Issue a certificate for all hostnames of the listener.",
        _SHOW_CERTIFICATE,
        f"{_GATEWAY_API}guides/tls/",
        ("AIG0204", "AIG0201"),
    ),
    Message(
        "AIG0211",
        "CertificateMissing",
        ERROR,
        "Listener {listener} of Gateway {gateway} names Secret {secret}, which {detail}",
        "A listener with TLS needs a Secret with tls.crt and tls.key.",
        "Create the Secret, or see why cert-manager has not.",
        "kubectl get secret --namespace {namespace} {name}",
        f"{_GATEWAY_API}guides/tls/",
        ("AIG0204", "AIG0201", "AIG0301"),
    ),
    # Routes and policies.
    Message(
        "AIG0301",
        "RouteRejected",
        ERROR,
        "{object} is not accepted by Gateway {gateway}: {reason}: {detail}",
        "No listener serves the route.",
        "See that a listener allows the route's namespace and kind, and that their hostnames meet.",
        "kubectl describe {resource} --namespace {namespace} {name}",
        f"{_GATEWAY_API}reference/spec/#routeconditionreason",
        ("AIG0305",),
    ),
    Message(
        "AIG0302",
        "BackendUnresolved",
        ERROR,
        "{object} names a backend that cannot be used: {reason}: {detail}",
        "The backend does not exist, is in a namespace without a ReferenceGrant, or is refused by its controller. "
        "Requests for it are answered with status 500.",
        "Create the backend, or correct the reference.",
        "kubectl describe {resource} --namespace {namespace} {name}",
        f"{_GATEWAY_API}api-types/referencegrant/",
    ),
    Message(
        "AIG0303",
        "NotReconciled",
        ERROR,
        "Envoy AI Gateway does not accept {object}: {detail}",
        "The controller cannot make an HTTPRoute and a configuration of the processor out of it, so that the object's "
        "last state stays in force.",
        "Correct what the message names.",
        "kubectl describe {resource} --namespace {namespace} {name}",
        f"{_AI_GATEWAY}api/",
        ("AIG0103", "AIG0301", "AIG0302"),
    ),
    Message(
        "AIG0304",
        "PolicyNotEnforced",
        ERROR,
        "{object} is accepted, and proxy {pod} does not enforce it: {detail}",
        "The status says that the policy is in force, and what the proxy runs has no filter of it.",
        "See whether another policy of the same kind targets the route, and the log of Envoy Gateway.",
        "kubectl get {resource} --namespace {namespace} {name} --output yaml",
        f"{_ENVOY_GATEWAY}concepts/gateway_api_extensions/",
    ),
    Message(
        "AIG0305",
        "PolicyRejected",
        ERROR,
        "{object} is not {condition}: {reason}: {detail}",
        "The controller does not apply the policy. Envoy Gateway answers requests that it would guard with status 500, "
        "or serves them without it.",
        "Correct what the message names.",
        "kubectl describe {resource} --namespace {namespace} {name}",
        f"{_ENVOY_GATEWAY}concepts/gateway_api_extensions/",
        ("AIG0304",),
    ),
    Message(
        "AIG0306",
        "PolicyOverridden",
        WARNING,
        "{object} does not hold everywhere: {detail}",
        "A policy that targets a route or a listener takes the place of the Gateway's, it does not add to it. Requests "
        "there are without the rules of this one.",
        "Remove the other policy, or give it all rules of this one.",
        "kubectl get {resource} --all-namespaces",
        f"{_ENVOY_GATEWAY}concepts/gateway_api_extensions/backend-traffic-policy/",
        ("AIG0304",),
    ),
    Message(
        "AIG0307",
        "LimitCountsNothing",
        ERROR,
        "Limit {rule} of {object} counts nothing: {detail}",
        "A limit of tokens reads their number from metadata of the response. Where nothing writes this metadata, every "
        "request costs nothing and the limit is never reached.",
        "Name the metadata in llmRequestCosts of every AIGatewayRoute, or in the program that counts.",
        "kubectl get {resource} --namespace {namespace} {name} --output yaml",
        f"{_AI_GATEWAY}capabilities/traffic/usage-based-ratelimiting",
    ),
    Message(
        "AIG0308",
        "RateLimiterAway",
        ERROR,
        "The rate limit service is away: {detail}",
        "Limits that several proxies share are counted there. As site configures it, requests are refused while it "
        "cannot be asked.",
        "Look at its pods, and at the Redis that it uses.",
        "kubectl describe deployment --namespace {namespace} {name}",
        f"{_ENVOY_GATEWAY}tasks/traffic/global-rate-limit/",
        ("AIG0307", "AIG0310"),
    ),
    Message(
        "AIG0309",
        "RedisAway",
        ERROR,
        "Redis of the rate limit service is away: {detail}",
        "The counters of limits are in Redis. As site configures it, requests are refused while it cannot be asked.",
        "Look at its pods.",
        "kubectl get pods --namespace {namespace} --selector app.kubernetes.io/name=redis",
        f"{_ENVOY_GATEWAY}tasks/traffic/global-rate-limit/",
        ("AIG0308", "AIG0310"),
    ),
    Message(
        "AIG0310",
        "LimitsCannotBeChecked",
        ERROR,
        "Proxy {pod} could not check limits, last at {time}",
        "The rate limit service did not answer in time, or with an error.",
        "Look at the rate limit service and at Redis.",
        "kubectl logs --namespace {namespace} --selector app.kubernetes.io/component=ratelimit",
        f"{_ENVOY_GATEWAY}tasks/traffic/global-rate-limit/",
    ),
    Message(
        "AIG0311",
        "RateLimiterNotConfigured",
        ERROR,
        "{object} has shared limits, and Envoy Gateway is configured without a rate limit service",
        "Without rateLimit in its configuration, Envoy Gateway deploys no rate limit service.",
        "Set rateLimit in Envoy Gateway's configuration and restart it. Role controllers does so.",
        "kubectl get configmap --namespace {namespace} envoy-gateway-config --output yaml",
        f"{_ENVOY_GATEWAY}tasks/traffic/global-rate-limit/",
        ("AIG0304", "AIG0305", "AIG0308"),
    ),
    Message(
        "AIG0312",
        "QuotaNotApplied",
        ERROR,
        "{object} is accepted, and does not limit all that it names: {detail}",
        "Envoy AI Gateway accepts a QuotaPolicy also where its rate limit service does not exist, a target is missing "
        "or a model has another name upstream. It then lets requests pass.",
        "Deploy the quota rate limit service and name it in quotaRateLimitServiceAddr, or use limits of a "
        "BackendTrafficPolicy (ai_gateway_tiers).",
        "kubectl describe quotapolicy --namespace {namespace} {name}",
        f"{_AI_GATEWAY}api/",
    ),
    Message(
        "AIG0313",
        "ForeignRoute",
        WARNING,
        "{object} is on Gateway {gateway}, from another namespace, and is neither of Envoy AI Gateway nor of "
        "egress.ai_gateway",
        "A route gets the requests that it matches with the tokens of their callers, its tokens are not counted, and "
        "policies on it replace those of the Gateway.",
        "Remove it, and see gateway_guarded_namespaces of role gateway. Where it is wanted, leave it.",
        "kubectl get {resource} --namespace {namespace} {name} --output yaml --show-managed-fields",
        f"{_GATEWAY_API}concepts/security/",
    ),
    # Authorino.
    Message(
        "AIG0401",
        "AuthorinoAway",
        ERROR,
        "Authorino is away: Deployment {deployment} has {available} of {wanted} pods available{detail}",
        "No request can be authorized, and all are refused with status 503.",
        "Look at the events and the log of its pods.",
        "kubectl describe deployment --namespace {namespace} {name}",
        "https://docs.kuadrant.io/latest/authorino/",
        ("AIG0402", "AIG0404"),
    ),
    Message(
        "AIG0402",
        "AuthorinoRestarts",
        WARNING,
        "Authorino's pod {pod} has restarted {restarts} times, last {reason}",
        "Requests are refused with status 503 while Authorino starts.",
        "Read what it wrote before it ended. OOMKilled means that its memory limit is too low.",
        "kubectl logs --namespace {namespace} {name} --previous",
        "https://docs.kuadrant.io/latest/authorino/",
    ),
    Message(
        "AIG0403",
        "CacheTooSmall",
        WARNING,
        "Authorino caches nothing: its cache has {size} MB, and AuthConfig {auth_config} caches reviews of tokens",
        "The cache refuses entries above a 1,024th of its size, and the review of a ServiceAccount's token is larger "
        "than that of 1 MB, the default. Every request then waits for a TokenReview, of which there are about five a "
        "second.",
        "Start Authorino with --evaluator-cache-size=64. On Kuadrant, set evaluatorCacheSize of the Authorino "
        "resource.",
        "kubectl get deployment --namespace {namespace} {name} --output yaml",
        "https://docs.kuadrant.io/latest/authorino/docs/architecture/",
    ),
    Message(
        "AIG0404",
        "AuthConfigNotReady",
        ERROR,
        "AuthConfig {auth_config} is not ready: {detail}",
        "Authorino does not use an AuthConfig that it cannot read, and refuses its requests.",
        "Correct what the message names.",
        "kubectl describe authconfig --namespace {namespace} {name}",
        "https://docs.kuadrant.io/latest/authorino/docs/features/",
    ),
    Message(
        "AIG0405",
        "AuthorizationFails",
        ERROR,
        "Proxy {pod} could not ask for authorization, last at {time}",
        "Authorino did not answer in time or could not be reached. Requests are refused with status 503.",
        "Look at Authorino, at its certificate and at NetworkPolicies.",
        "kubectl logs --namespace {namespace} {name} --container envoy",
        f"{_ENVOY}configuration/http/http_filters/ext_authz_filter",
    ),
    # Providers.
    Message(
        "AIG0501",
        "KeySecretMissing",
        ERROR,
        "{object} names Secret {secret}, which does not exist",
        "Requests to the provider or the MCP server have no key and are refused. Envoy AI Gateway takes a route to MCP "
        "servers only with the keys of all of them.",
        "Create the Secret with the key under {key}.",
        "kubectl create secret generic --namespace {namespace} {name} --from-file={key}=FILE",
        f"{_AI_GATEWAY}capabilities/security/upstream-auth",
        ("AIG0303", "AIG0505"),
    ),
    Message(
        "AIG0502",
        "ProviderUnreachable",
        ERROR,
        "The {server} of cluster {cluster} cannot be reached, last at {time}: {detail}",
        "The connection was refused or timed out, or its name does not resolve.",
        "See that the endpoint is right and that a NetworkPolicy and the network let the proxies through.",
        "kubectl get backend.gateway.envoyproxy.io --namespace {namespace} --output yaml",
        f"{_ENVOY}configuration/observability/access_log/usage",
    ),
    Message(
        "AIG0503",
        "ProviderTlsRefused",
        ERROR,
        "TLS with the {server} of cluster {cluster} fails, last at {time}: {detail}",
        "Its certificate is not trusted or is for another name, or it refuses the gateway's certificate.",
        "Set its endpoint.tls: ca_bundle for an own CA, sni for another name, mode none where it has no TLS.",
        "kubectl get backendtlspolicies,backends.gateway.envoyproxy.io --namespace {namespace} --output yaml",
        f"{_GATEWAY_API}api-types/backendtlspolicy/",
        ("AIG0502",),
    ),
    Message(
        "AIG0504",
        "KeyNameWrong",
        ERROR,
        "Secret {secret}, which {object} names, has no key {key}, but {keys}",
        "Envoy AI Gateway reads the key of a provider or an MCP server under a fixed name.",
        "Put the key under {key}.",
        "kubectl create secret generic --namespace {namespace} {name} --from-file={key}=FILE --dry-run=client "
        "--output yaml | kubectl apply -f -",
        f"{_AI_GATEWAY}capabilities/security/upstream-auth",
        ("AIG0303", "AIG0505"),
    ),
    Message(
        "AIG0505",
        "ProviderRefusesKey",
        ERROR,
        "The {server} of cluster {cluster} has answered the last request, at {time}, with status {status}",
        "It does not know the gateway's key, or the key may not use the model or the tools.",
        "Put a valid key into the inventory and run rotate_keys, or site where it is that of an MCP server.",
        "kubectl get backendsecuritypolicies,mcproutes --namespace {namespace}",
        f"{_AI_GATEWAY}capabilities/security/upstream-auth",
    ),
    Message(
        "AIG0506",
        "ProviderLimits",
        WARNING,
        "The {server} of cluster {cluster} has answered the last request, at {time}, with status 429",
        "The gateway's key is above its limit or has no credit there. The limits of the gateway's own tiers are not "
        "meant.",
        "Raise the limit there, add a second provider for the model, or lower the limits of the tiers.",
        "kubectl get aigatewayroutes,mcproutes --namespace {namespace}",
        f"{_AI_GATEWAY}capabilities/traffic/provider-fallback",
    ),
    Message(
        "AIG0507",
        "ProviderNameUnresolved",
        ERROR,
        "The name of the {server} of cluster {cluster} does not resolve: it has no address in proxy {pod}",
        "The hostname of the endpoint is unknown to the cluster's DNS, or the proxies cannot ask it.",
        "Correct the hostname, or see why the DNS does not answer.",
        "kubectl get backend.gateway.envoyproxy.io --namespace {namespace} --output yaml",
        f"{_ENVOY}intro/arch_overview/upstream/service_discovery",
        ("AIG0502",),
    ),
    Message(
        "AIG0508",
        "BackendsNotEnabled",
        ERROR,
        "Envoy Gateway does not accept Backends, and there are {count} of them",
        "Resources of kind Backend are off by default in Envoy Gateway.",
        "Set extensionApis.enableBackend in Envoy Gateway's configuration and restart it. Role controllers does so.",
        "kubectl get configmap --namespace {namespace} envoy-gateway-config --output yaml",
        f"{_ENVOY_GATEWAY}tasks/traffic/backend/",
        ("AIG0302", "AIG0303"),
    ),
    # Inference pools.
    Message(
        "AIG0601",
        "PickerAway",
        ERROR,
        "The endpoint picker of InferencePool {pool} is away: Service {service} {detail}",
        "The picker chooses the pod for each request. Without it requests are refused, or go to any pod, as "
        "failureMode of the pool says.",
        "Look at the pods of the picker.",
        "kubectl get endpointslices --namespace {namespace} --selector kubernetes.io/service-name={name}",
        f"{_INFERENCE}guides/troubleshooting/",
        ("AIG0604", "AIG0606"),
    ),
    Message(
        "AIG0602",
        "PickerSelectsNothing",
        ERROR,
        "Service {service} of the endpoint picker of InferencePool {pool} selects no pod: {selector}",
        "The labels in the Service's selector are not those of the picker's pods.",
        "Correct the selector of the Service or the labels of the pods.",
        "kubectl get pods --namespace {namespace} --show-labels",
        f"{_INFERENCE}guides/troubleshooting/",
        ("AIG0601", "AIG0604", "AIG0606"),
    ),
    Message(
        "AIG0603",
        "PoolWithoutPods",
        ERROR,
        "InferencePool {pool} has no ready pod: {detail}",
        "The picker has nothing to choose from and answers with status 503.",
        "See that the selector of the pool is that of the model's pods, and that these are ready.",
        "kubectl get pods --namespace {namespace} --selector {selector}",
        f"{_INFERENCE}api-types/inferencepool/",
        ("AIG0606",),
    ),
    Message(
        "AIG0604",
        "PoolNotAccepted",
        ERROR,
        "InferencePool {pool} is not {condition}: {reason}: {detail}",
        "The Gateway's controller cannot use the pool.",
        "See the message of the condition. The picker's Service must exist in the pool's namespace.",
        "kubectl describe inferencepool --namespace {namespace} {name}",
        f"{_INFERENCE}api-types/inferencepool/",
        ("AIG0302",),
    ),
    Message(
        "AIG0605",
        "PoolsNotEnabled",
        ERROR,
        "Envoy Gateway does not know InferencePools, and AIGatewayRoutes name {pools}",
        "Envoy Gateway accepts a backend of another kind only where extensionManager.backendResources names it.",
        "Add inference.networking.k8s.io/v1 InferencePool to extensionManager.backendResources of Envoy Gateway's "
        "configuration and restart it. Role controllers does so.",
        "kubectl get configmap --namespace {namespace} envoy-gateway-config --output yaml",
        f"{_AI_GATEWAY}capabilities/inference/inferencepool-support",
        ("AIG0302", "AIG0303", "AIG0604"),
    ),
    Message(
        "AIG0606",
        "PickerRefuses",
        ERROR,
        "Proxy {pod} got no endpoint from the picker of cluster {cluster}, last at {time}: {detail}",
        "The picker did not answer or found no pod.",
        "Look at the log of the picker and at the pods of the pool.",
        "kubectl get inferencepools --namespace {namespace} --output yaml",
        f"{_INFERENCE}guides/troubleshooting/",
    ),
    Message(
        "AIG0608",
        "PickerRestarts",
        ERROR,
        "Container {container} of endpoint picker {pod} of InferencePool {pool} has restarted {restarts} times, last "
        "{reason}",
        "A picker that ends takes all requests of its pool with it. Version 1.0 ends at an answer whose usage lacks a "
        "number, such as that with embeddings.",
        "Read what it wrote before it ended. See that requests reach it over routes of egress.ai_gateway alone, and "
        "that the EnvoyPatchPolicy of the Gateway is programmed, by which no answer reaches a picker.",
        "kubectl logs --namespace {namespace} {name} --container {container} --previous",
        f"{_INFERENCE}guides/troubleshooting/",
        ("AIG0601", "AIG0606"),
    ),
    # The semantic router.
    Message(
        "AIG0701",
        "RouterAway",
        ERROR,
        "The semantic router {router} is away: {detail}",
        "Nothing chooses a model, so requests that name none are refused with status 503. In mode single_gateway, "
        "requests that name their model go on. Its pod is ready when it chooses a model for a question of its own "
        "gateway.",
        "Look at the events and the logs of its pod.",
        "kubectl describe pods --namespace {namespace} --selector app.kubernetes.io/name=semantic-router",
        "https://vllm-semantic-router.com/docs/",
    ),
    Message(
        "AIG0702",
        "RouterRefusesConfiguration",
        ERROR,
        "The semantic router {router} refuses its configuration: {detail}",
        "The image reads another version of the schema, or the configuration has a fault.",
        "Check the configuration with `vllm-sr config validate` of the same version as the image. "
        "semantic_router_image and semantic_router_schema belong together.",
        "kubectl logs --namespace {namespace} --selector app.kubernetes.io/name=semantic-router "
        "--container semantic-router",
        "https://vllm-semantic-router.com/docs/installation/configuration/",
        ("AIG0701", "AIG0004"),
    ),
    Message(
        "AIG0703",
        "DecisionWithoutModel",
        ERROR,
        "Decision {decision} of the semantic router {router} names model {model}, which the router does not have",
        "The configuration was changed by hand, or by another version of this collection.",
        "Run playbook site, which renders the configuration from ai_gateway_semantic_router.",
        "kubectl get configmap --namespace {namespace} semantic-router --output yaml",
        "https://vllm-semantic-router.com/docs/installation/configuration/",
    ),
    Message(
        "AIG0704",
        "ModelWithoutBackend",
        ERROR,
        "The semantic router {router} may choose model {model}, which cannot answer: {detail}",
        "Requests for which the router chooses this model fail.",
        "Run playbook site, which takes removed models out of the router. Otherwise start what serves the model.",
        "kubectl get configmap --namespace {namespace} semantic-router --output yaml",
        "https://vllm-semantic-router.com/docs/installation/configuration/",
    ),
    # What the diagnosis could not see.
    Message(
        "AIG0901",
        "NotRead",
        WARNING,
        "Not all could be read: {what}: {reason}",
        "What is not read cannot be judged. Diagnosis needs the rights get and list on the kinds of a gateway, get on "
        "pods/log, and get and create on pods/portforward.",
        "Use a user with these rights; see the README of role diagnosis.",
        "kubectl auth can-i --list",
        "https://kubernetes.io/docs/reference/access-authn-authz/rbac/",
    ),
)

BY_CODE: t.Mapping[str, Message] = {message.code: message for message in MESSAGES}


def message_of(code: str) -> Message:
    return BY_CODE[code]
