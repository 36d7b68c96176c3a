// Copyright: Contributors to the egress.ai_gateway project
// SPDX-License-Identifier: GPL-3.0-or-later

// An issuer of access tokens for tests: the certified provider of the package, with clients in place of users, so that
// nobody has to log in. The first argument is a file of JSON with:
//   issuer, port, certificate and key: the URL, where to listen, and files in PEM
//   jwks: private keys, the first of which signs
//   clients: by name, each with its secret, groups and email
//   offset: seconds that the clock is fast

import { readFileSync } from "node:fs";
import { createServer } from "node:https";

const given = JSON.parse(readFileSync(process.argv[2], "utf-8"));
const now = Date.now;
Date.now = () => now() + (given.offset ?? 0) * 1000;
const { default: Provider, errors } = await import("oidc-provider");

const provider = new Provider(given.issuer, {
  clients: Object.entries(given.clients).map(([name, client]) => ({
    client_id: name,
    client_secret: client.secret,
    grant_types: ["client_credentials"],
    redirect_uris: [],
    response_types: [],
  })),
  jwks: given.jwks,
  cookies: { keys: ["unused"] },
  ttl: { ClientCredentials: 600 },
  async extraTokenClaims(context, token) {
    const { groups, email } = given.clients[token.clientId];
    return { groups, email };
  },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      async getResourceServerInfo(context, resource) {
        if (!resource.startsWith("urn:")) throw new errors.InvalidTarget();
        return { scope: "", audience: resource, accessTokenFormat: "jwt", jwt: { sign: { alg: "RS256" } } };
      },
    },
  },
});
createServer({ cert: readFileSync(given.certificate), key: readFileSync(given.key) }, provider.callback()).listen(
  given.port,
);
