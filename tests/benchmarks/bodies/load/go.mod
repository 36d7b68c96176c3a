module egress-ai-gateway/benchmark/load

go 1.26
