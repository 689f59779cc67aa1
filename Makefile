# One static binary, with the version and the commit that it was built from.
build:
	CGO_ENABLED=0 go build -trimpath -buildvcs=auto -o bin/wpd ./cmd/wpd

test:
	go test ./...

# The tests that need real object stores, which it installs first: versitygw,
# azurite and fake-gcs-server, below a cache directory. It needs npm and node.
test-stores:
	.ci/stores

# All that a change must pass; installs what it needs.
ci:
	.ci/run

# Generated files that are kept in git: protobuf code, docs/configuration.md.
generate:
	go generate ./...

clean:
	rm -rf bin

.PHONY: build test test-stores ci generate clean
