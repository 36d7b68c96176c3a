// Copyright: Contributors to the egress.ai_gateway project
// SPDX-License-Identifier: GPL-3.0-or-later

// The provider that all gateways lead to, and the client that sends to them. Both are of the fasthttp library, so that
// they take as little as can be of the cores that they share with the gateways.
//
// "traffic serve ADDRESS" is the provider. "traffic send" reads an order as JSON from its standard input, so that no
// token is an argument, and prints its figures as JSON.
package main

import (
	"encoding/json"
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	switch {
	case len(arguments) == 2 && arguments[0] == "serve":
		return serve(arguments[1])
	case len(arguments) == 1 && arguments[0] == "send":
		var given order
		decoder := json.NewDecoder(os.Stdin)
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&given); err != nil {
			return err
		}
		found, err := given.carryOut()
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(found)
	}
	return fmt.Errorf("usage: %s serve ADDRESS | send", os.Args[0])
}
