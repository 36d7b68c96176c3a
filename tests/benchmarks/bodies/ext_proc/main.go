// Copyright: Contributors to the egress.ai_gateway project
// SPDX-License-Identifier: GPL-3.0-or-later

// Judges bodies of requests for Envoy's ext_proc filter, on the Unix socket that the only argument names.
// Needs GOEXPERIMENT=jsonv2.
package main

import (
	"bytes"
	"encoding/json/jsontext"
	"errors"
	"io"
	"log"
	"net"
	"os"

	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	types "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc"
)

const (
	deepest = 60
	largest = 64 << 20
)

var errNoModel = errors.New("no model that is a string")

// judge reads all of a body; the decoder refuses names that stand twice and what is not UTF-8.
func judge(body []byte) error {
	decoder := jsontext.NewDecoder(bytes.NewReader(body))
	found, named := false, false
	for {
		token, err := decoder.ReadToken()
		if err != nil {
			return err
		}
		depth := decoder.StackDepth()
		if depth > deepest {
			return errors.New("too deep")
		}
		if named && token.Kind() != '"' {
			return errNoModel
		}
		found = found || named
		if depth == 0 && !found {
			return errNoModel
		}
		if depth == 0 {
			if _, err := decoder.ReadToken(); err != io.EOF {
				return errors.New("more than one value")
			}
			return nil
		}
		kind, length := decoder.StackIndex(depth)
		named = depth == 1 && kind == '{' && length%2 == 1 && token.Kind() == '"' && token.String() == "model"
	}
}

type server struct{}

func (server) Process(stream extproc.ExternalProcessor_ProcessServer) error {
	for {
		request, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		answer := &extproc.ProcessingResponse{
			Response: &extproc.ProcessingResponse_RequestBody{RequestBody: &extproc.BodyResponse{}},
		}
		if judge(request.GetRequestBody().GetBody()) != nil {
			answer.Response = &extproc.ProcessingResponse_ImmediateResponse{ImmediateResponse: &extproc.ImmediateResponse{
				Status: &types.HttpStatus{Code: types.StatusCode_BadRequest},
				Body:   []byte(`{"error":{"message":"refused"}}`),
			}}
		}
		if err := stream.Send(answer); err != nil {
			return err
		}
	}
}

func main() {
	listener, err := net.Listen("unix", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	service := grpc.NewServer(grpc.MaxRecvMsgSize(largest))
	extproc.RegisterExternalProcessorServer(service, server{})
	log.Fatal(service.Serve(listener))
}
