#!/usr/bin/python
# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: apply_set
short_description: Apply a named set of manifests and delete the objects that left it
version_added: 1.0.0
description:
  - Applies all manifests of a set by server-side apply, in parallel and in an order that follows their kinds, deletes
    the set's objects that are no longer among the manifests, and waits once for the whole set.
  - All manifests are checked before the first write; one error lists everything that is wrong with them.
  - A set follows the ApplySet convention of Kubernetes (KEP-3659). Its parent object is the ConfigMap O(name) in
    O(namespace), and its members carry the label C(applyset.kubernetes.io/part-of). So C(kubectl get --selector) and
    other tools recognise it.
  - An object is changed when its C(metadata.resourceVersion) changes. A second run over the same manifests writes
    nothing.
  - The next run completes a run that was interrupted at any point.
options:
  name:
    description:
      - Name of the set. The name and O(namespace) identify the set, so a new name makes another set.
    type: str
    required: true
  namespace:
    description:
      - Namespace of the set's parent object. It is created if it does not exist. If it is among the O(manifests), it
        is a member of the set and removed with it.
      - It is also the namespace of namespaced manifests that name none.
    type: str
    required: true
  manifests:
    description:
      - All manifests of the set, as mappings or as strings of YAML with any number of documents. The module
        parses strings faster than a filter does.
      - A list, or a single mapping or string. Nulls are skipped. Lists and objects of kind C(List) are unfolded.
      - Their order has no effect, as the module orders by kind. Namespaces come first, then CRDs, access control,
        configuration, services, workloads, webhooks, gateways, backends, policies, routes, and the rest.
      - Fields that only the API server writes are ignored, such as C(status) and C(metadata.resourceVersion).
        C(stringData) of a Secret is submitted as C(data).
      - A manifest names further fields with secrets in annotation C(egress.ai-gateway/secret-fields), such as
        V(spec.password, spec.users[*].token, data['a.key']). They are masked like the data of a Secret.
      - May be empty only while the set has no members.
      - Ignored with O(state=absent).
    type: raw
    default: []
  template:
    description:
      - Paths of Jinja2 templates on the controller, searched for as M(ansible.builtin.template) does. The rendered
        manifests follow the O(manifests).
      - Faster than P(ansible.builtin.template#lookup) with many variables, as the variables are not copied first.
        Blocks are trimmed as there. Variables that the lookup adds, such as C(ansible_managed), are not defined.
      - Not rendered with O(state=absent).
    type: list
    elements: path
    default: []
  state:
    description:
      - V(present) makes the set exactly O(manifests) and the manifests that O(template) renders.
      - V(absent) deletes the set's objects and then the set, in the reverse order, namespaces last. It needs no
        manifests and succeeds if the set does not exist.
    type: str
    choices: [present, absent]
    default: present
  prune:
    description:
      - Whether to delete members that are no longer among the O(manifests).
      - With O(wait=true), an AIGatewayRoute is changed to match no request two seconds before its deletion. So no
        request reaches a part of the objects that its controller created.
    type: bool
    default: true
  adopt:
    description:
      - Whether existing objects that belong to no set become members of this one. They are changed to the
        O(manifests), with conflicts as O(force_conflicts) says.
      - The set remembers what it adopted. Such an object is not deleted when it leaves the set, or with
        O(state=absent). It stays as it is, without the label of the set, and is returned as RV(released).
      - By default, existing Namespaces, CustomResourceDefinitions and ValidatingAdmissionPolicies (with their bindings)
        are used as they are, never changed and never deleted, and returned as RV(kept). Existing objects of other kinds
        are an error that lists all of them, before anything is written.
    type: bool
    default: false
  managers:
    description:
      - Field managers of controllers that the set runs, as C(metadata.managedFields) names them.
      - What only these and Kubernetes itself wrote goes with a Namespace of the set. See O(force_removal).
    type: list
    elements: str
    default: []
  wait:
    description:
      - With O(state=present), wait until every object is ready, for kinds that report readiness.
      - These are workloads and Jobs, CRDs, and the kinds of Gateway API, Envoy Gateway, Envoy AI Gateway, Kuadrant,
        Authorino and cert-manager. Conditions count only if they are about the object's current generation.
      - With O(state=absent), and when members are pruned, wait until the objects are gone.
      - Some controllers do not retry after they failed to remove their finalizer from an object. If nothing changes for
        five seconds, the module makes such a controller reconcile again by a change of a field of the object's C(spec)
        that no longer has an effect, with a warning that names both. This applies to the kinds of Envoy AI Gateway with
        finalizers, and to GatewayClasses of Envoy Gateway. The module removes no finalizer.
    type: bool
    default: true
  wait_timeout:
    description:
      - Longest wait, in seconds, for the set to be ready and for deleted objects to be gone. At least 1.
      - The error after it names each object that is not ready, its condition, reason and message, the failing
        containers with their last log lines, and the newest warning event.
    type: int
    default: 300
  prune_delay:
    description:
      - Least age, in seconds, of the newest route of the set before other routes are deleted. It is for a gateway whose
        parts learn of a route at different times. The newest route may be of an earlier, interrupted run.
      - With O(wait=true), routes are deleted only after those of the O(manifests) are ready, as these may replace them.
      - Only used with O(wait=true), in a run that deletes routes.
    type: int
    default: 0
  wait_for:
    description:
      - Further conditions to wait for, such as those of objects of other kinds. They add to what the kinds report.
      - Each entry must match at least one of the O(manifests). Otherwise the module fails before it writes.
      - Only used with O(state=present) and O(wait=true).
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
          - API version of the objects. Needed only if several API groups have the kind. By default of any version.
        type: str
      namespace:
        description:
          - Namespace of the objects. By default of any namespace.
        type: str
      name:
        description:
          - Name of the object. By default all objects of the kind.
        type: str
      query:
        description:
          - JMESPath expression over the whole object. The object is ready once the result is true, that is neither null
            nor false nor empty.
          - If the object has a C(status.observedGeneration), the expression is evaluated only once that equals its
            C(metadata.generation).
        type: str
        required: true
      failed:
        description:
          - JMESPath expression over the whole object. The module fails once the result is true.
        type: str
  rehearse:
    description:
      - Whether only to find out what the run would fail with. Nothing is written, as in check mode.
      - The task does not fail then, but returns RV(faults). What the API server cannot check yet, as it depends on
        earlier sets, is no fault and no warning.
    type: bool
    default: false
  render_to:
    description:
      - Directory on the machine of the task into which the set is rendered, in place of a cluster, which is not called.
        Module M(egress.ai_gateway.rendered_tree) makes a tree of files from it, and M(egress.ai_gateway.objects_info)
        reads objects from it.
      - It holds Secrets in plain, so nobody else must be able to read it, and it is to be removed after use.
      - With O(state=absent) nothing is rendered. The task reports no change, and all objects as RV(created).
    type: path
  collect_in:
    description:
      - Directory on the machine of the task into which the set is written as it would be applied, in place of a
        cluster, which is not called. Module M(egress.ai_gateway.drift_info) compares it with the cluster.
      - It holds Secrets in plain, so nobody else must be able to read it, and it is to be removed after use.
      - Also written in check mode. The task reports no change, and all objects as RV(created).
    type: path
  parallel:
    description:
      - Number of concurrent requests to the API server. At least 1.
    type: int
    default: 8
  force_conflicts:
    description:
      - Whether to take over fields of the manifests that another field manager owns.
      - By default such a conflict is an error that names the object, the field and its owner.
      - For a manifest with annotation C(egress.ai-gateway/force-conflicts) this is always V(true). It is for fields
        that nobody else can set rightly, such as the CA bundle of a webhook.
    type: bool
    default: false
  force_removal:
    description:
      - Whether to delete a Namespace of the set together with what others keep in it, or a CustomResourceDefinition of
        the set together with objects of its kind that are not of the set. By default an error names these, and nothing
        is deleted.
      - In a Namespace these are members of other sets, adopted objects, and ConfigMaps, Secrets,
        PersistentVolumeClaims and workloads that belong to no set, have no owner and were not written by
        O(managers) or Kubernetes itself.
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
        first count as created. Where its CRD exists, an object in such a namespace is checked for unknown fields.
  diff_mode:
    support: full
    details:
      - Shows the submitted fields. The data of Secrets and fields marked as secret are masked.
  idempotent:
    support: full
notes:
  - With a local connection and Ansible's own Python interpreter, or one left to discovery, the code runs in Ansible's
    process, which saves more time than a small set needs. Otherwise, and with C(become), C(delegate_to) or
    C(environment), it runs as a module does, on a machine that must have the kubernetes library.
  - The data of Secrets and fields marked as secret are never returned, logged or shown, and are masked in messages of
    the API server.
seealso:
  - name: ApplySet specification
    description: Parent objects, labels and annotations of a set.
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

- name: Install CRDs and take over existing ones, which stay when the set is removed
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
  description: Objects that the run created.
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
  description: Objects that the run did not change. Each as in RV(created).
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
    - Existing Namespaces, CustomResourceDefinitions and ValidatingAdmissionPolicies (with their bindings) among the
      manifests that belong to no set and were used as they are.
    - Each as in RV(created).
  returned: always
  type: list
  elements: dict
released:
  description: Adopted objects that left the set and stay on the cluster. Each as in RV(created).
  returned: always
  type: list
  elements: dict
faults:
  description: What the run would fail with.
  returned: with O(rehearse=true)
  type: list
  elements: str
diff:
  description: The submitted fields of each changed object, before and after. The data of Secrets is masked.
  returned: in diff mode
  type: list
  elements: dict
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.task import (
    argument_spec,
    perform,
    shown_params,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.authentication import hidden_values
from ansible_collections.egress.ai_gateway.plugins.module_utils._progress import Progress

__all__ = ["arguments", "hidden_values", "perform"]


def arguments() -> dict[str, t.Any]:
    return {"argument_spec": argument_spec()}


def main() -> None:
    module = AnsibleModule(**arguments(), supports_check_mode=True)
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
