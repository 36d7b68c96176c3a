#!/usr/bin/python
# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: apply_set
short_description: Put a named set of manifests on a cluster, and keep it exactly that
version_added: 1.0.0
description:
  - Applies all manifests of a set by server-side apply, in parallel and in an order that follows their kinds, deletes
    the set's objects that are no longer among the manifests, and waits once for the whole set.
  - All manifests are checked before the first write; one error lists everything that is wrong with them.
  - A set follows the ApplySet convention of Kubernetes (KEP-3659). Its parent object is the ConfigMap O(name) in
    O(namespace), its members carry the label C(applyset.kubernetes.io/part-of), so C(kubectl get --selector) and other
    tools recognise it.
  - An object is changed when its C(metadata.resourceVersion) changes. A second run over the same manifests writes
    nothing.
  - A run that was cut off anywhere is completed by the next one.
options:
  name:
    description:
      - Name of the set. The set is known by this and O(namespace), so renaming it makes another set.
    type: str
    required: true
  namespace:
    description:
      - Namespace of the set's parent object, created when it does not exist. As part of the set, and so removed with
        it, when it is among the O(manifests).
      - Also the namespace of namespaced manifests that name none.
    type: str
    required: true
  manifests:
    description:
      - All manifests of the set, as mappings or as strings of YAML with any number of documents. Strings are parsed
        faster here than by a filter.
      - A list, or a single mapping or text. Nulls are skipped, lists and objects of kind C(List) are unfolded.
      - The order does not matter, as it follows the kinds. Namespaces come first, then custom resource definitions,
        access control, configuration, services, workloads, webhooks, gateways, backends, policies, routes, and the
        rest.
      - Fields that only the API server writes are left out, such as C(status) and C(metadata.resourceVersion).
        C(stringData) of a Secret is submitted as C(data).
      - A manifest names its fields that hold secrets, besides the data of Secrets, in annotation
        C(egress.ai-gateway/secret-fields), such as V(spec.password, spec.users[*].token, data['a.key']). These are
        masked wherever the data of a Secret is.
      - May be empty only while the set has no members.
      - Not used when O(state=absent).
    type: raw
    default: []
  template:
    description:
      - Paths of Jinja2 templates on the controller, sought as M(ansible.builtin.template) does. What they render
        comes after the O(manifests), as more of these.
      - Faster than P(ansible.builtin.template#lookup) with many variables, as these are not copied first. Blocks are
        trimmed as there; of the variables that it adds, such as C(ansible_managed), there are none.
      - Not rendered when O(state=absent).
    type: list
    elements: path
    default: []
  state:
    description:
      - V(present) makes the set exactly O(manifests) and what O(template) becomes.
      - V(absent) deletes the set's objects and then the set, in the reverse order, namespaces last. It needs no
        manifests and succeeds when there is nothing.
    type: str
    choices: [present, absent]
    default: present
  prune:
    description:
      - Delete members that are no longer among the O(manifests).
      - With O(wait=true), an AIGatewayRoute is made to match no request two seconds before, so that none meets half of
        what was made of it.
    type: bool
    default: true
  adopt:
    description:
      - Take Namespaces, CustomResourceDefinitions and ValidatingAdmissionPolicies (with their bindings) into the set
        that existed before and belong to none.
      - By default these are used as they are, never changed and never deleted, and returned as RV(kept).
      - Other objects that existed before become members in any case.
    type: bool
    default: false
  wait:
    description:
      - When present, wait until every object is ready, as far as its kind says so.
      - These are workloads and Jobs, custom resource definitions, the kinds of Gateway API, Envoy Gateway, Envoy AI
        Gateway, Kuadrant, Authorino and cert-manager. Conditions count only when they are about the object's current
        generation.
      - When absent, or when members are pruned, wait until the objects are gone.
      - Some controllers take no second look at an object that they failed to let go. Where nothing moves for five
        seconds, such a controller is had to look again by a change of a field of the object's C(spec) that matters no
        more, with a warning that names both. This concerns the kinds of Envoy AI Gateway with finalizers, and
        GatewayClasses of Envoy Gateway. No finalizer is taken off.
    type: bool
    default: true
  wait_timeout:
    description:
      - Longest wait, in seconds, for the set to be ready, and for what is deleted to be gone.
      - The error then names each object that is not ready, its condition, reason and message, the failing containers
        with their last log lines, and the newest warning event.
    type: int
    default: 300
  prune_delay:
    description:
      - How long, in seconds, the newest route of the set must have been there before others are deleted, for a gateway
        whose parts learn of a route at different times. It may be of an earlier run that was cut off.
      - With O(wait=true), routes are deleted only when those of the O(manifests) are ready, as these may be there in
        their place.
      - Only used where a run deletes routes, and with O(wait=true).
    type: int
    default: 0
  wait_for:
    description:
      - What to wait for beyond what the objects' kinds report, such as objects of other kinds. In addition to it, not
        instead.
      - Each entry must concern at least one of the O(manifests).
      - Only used when O(state=present) and O(wait=true).
    type: list
    elements: dict
    default: []
    suboptions:
      kind:
        description:
          - Kind of the objects.
        type: str
        required: true
      api_version:
        description:
          - API version of the objects, where other groups have the kind too.
        type: str
      namespace:
        description:
          - Namespace of the objects, where not all of the set are meant.
        type: str
      name:
        description:
          - Name of the object, where not all of the kind are meant.
        type: str
      query:
        description:
          - JMESPath expression over the whole object. The object is ready once its result is true, that is neither null
            nor false nor empty.
          - Where the object has a C(status.observedGeneration), it is looked at only once that is its
            C(metadata.generation).
        type: str
        required: true
      failed:
        description:
          - JMESPath expression over the whole object. The wait ends with an error once its result is true.
        type: str
  parallel:
    description:
      - Number of requests under way at a time.
    type: int
    default: 8
  force_conflicts:
    description:
      - Take over fields of the manifests that another field manager owns.
      - By default such a conflict is an error that names the object, the field and its owner.
    type: bool
    default: false
  force_removal:
    description:
      - Delete a Namespace or CustomResourceDefinition of the set even when members of other sets, or objects of its
        kind that are not of the set, would go with it. By default these are named in an error, and nothing is deleted.
      - What is in a Namespace and belongs to no set goes with it in any case.
    type: bool
    default: false
extends_documentation_fragment:
  - egress.ai_gateway.attributes
  - kubernetes.core.k8s_auth_options
requirements:
  - python >= 3.9
  - kubernetes >= 24.2.0
  - PyYAML >= 3.11
  - jmespath, for O(wait_for)
attributes:
  check_mode:
    support: full
    details:
      - The API server validates and admits every object in a dry run. Objects whose kind or namespace would be created
        first count as created.
  diff_mode:
    support: full
    details:
      - Shows the fields submitted. The data of Secrets and fields marked as secret are masked.
  idempotent:
    support: full
notes:
  - Where the connection is local and the Python interpreter is Ansible's own or left to discovery, it runs inside of
    Ansible, which saves more time than a small set takes. Otherwise, and with C(become), C(delegate_to) or
    C(environment), it runs as a module does, where the kubernetes library must be.
  - The data of Secrets and fields marked as secret are never returned, logged or shown, and are masked in messages of
    the API server.
seealso:
  - name: ApplySet specification
    description: What makes a set, and how tools recognise it.
    link: https://github.com/kubernetes/enhancements/tree/master/keps/sig-cli/3659-kubectl-apply-prune
  - module: kubernetes.core.k8s
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Provide exactly the providers that the template renders
  egress.ai_gateway.apply_set:
    name: providers
    namespace: ai-gateway
    template: providers.yaml.j2

- name: Show what a change of the templates would do
  egress.ai_gateway.apply_set:
    name: providers
    namespace: ai-gateway
    template: providers.yaml.j2
  check_mode: true
  diff: true

- name: Install CRDs and take existing ones into the set
  egress.ai_gateway.apply_set:
    name: crds
    namespace: ai-gateway
    manifests: "{{ lookup('ansible.builtin.file', 'crds.yaml') | from_yaml_all }}"
    adopt: true
    wait_timeout: 60

- name: Provide a database and wait until its operator has made it
  egress.ai_gateway.apply_set:
    name: database
    namespace: ai-gateway
    manifests: "{{ lookup('ansible.builtin.file', 'database.yaml') }}"
    wait_for:
      - kind: Database
        query: status.phase == 'Running'
        failed: status.phase == 'Failed'

- name: Remove the providers
  egress.ai_gateway.apply_set:
    name: providers
    namespace: ai-gateway
    state: absent
"""

RETURN = r"""
created:
  description: Objects that did not exist before.
  returned: always
  type: list
  elements: dict
  contains:
    apiVersion:
      description: API version of the object.
      type: str
      sample: apps/v1
    kind:
      description: Kind of the object.
      type: str
      sample: Deployment
    namespace:
      description: Namespace of the object, empty for a cluster-scoped one.
      type: str
      sample: ai-gateway
    name:
      description: Name of the object.
      type: str
      sample: openai-simulator
updated:
  description: Objects that were changed. Each as in RV(created).
  returned: always
  type: list
  elements: dict
unchanged:
  description: Objects that were as they should be. Each as in RV(created).
  returned: always
  type: list
  elements: dict
deleted:
  description: Members that were deleted. Each as in RV(created).
  returned: always
  type: list
  elements: dict
kept:
  description:
    - Namespaces and CustomResourceDefinitions among the manifests that existed before, belong to no set, and were used
      as they are.
    - Each as in RV(created).
  returned: always
  type: list
  elements: dict
diff:
  description: For each object that was changed, the fields submitted before and after. The data of Secrets is masked.
  returned: in diff mode
  type: list
  elements: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.task import (
    argument_spec,
    perform,
    shown_params,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.authentication import hidden_values
from ansible_collections.egress.ai_gateway.plugins.module_utils._progress import Progress


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    module.no_log_values = hidden_values(module.params)
    result = perform(module.params, module.check_mode, module._diff, Progress().say)
    module.params = shown_params(module.params)
    for warning in result.pop("warnings"):
        module.warn(warning)
    if result.get("failed"):
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
