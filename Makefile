# One static binary, with the version and the commit that it was built from.
build:
	CGO_ENABLED=0 go build -trimpath -buildvcs=auto -o bin/wpd ./cmd/wpd

test:
	go test ./...

# All that a change must pass; installs what it needs.
ci:
	.ci/run

# Generated files that are kept in git: protobuf code, docs/configuration.md.
generate:
	go generate ./...

clean:
	rm -rf bin

.PHONY: build test ci generate clean
