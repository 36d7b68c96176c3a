# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

# Its presence puts this directory into the path, from where all unit tests import cluster.
