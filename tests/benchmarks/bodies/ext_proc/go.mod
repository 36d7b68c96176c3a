module egress-ai-gateway/benchmark/bodies

go 1.26

require (
	github.com/envoyproxy/go-control-plane/envoy v1.37.1-0.20260409050421-3f47accd6e14
	google.golang.org/grpc v1.82.1
)
