package stores

import (
	"fmt"
	"path/filepath"
)

// Kind is a kind of object store, by the scheme of its bucket URLs.
type Kind string

// The kinds, each with one server.
const (
	S3    Kind = "s3"     // versitygw
	Azure Kind = "azblob" // azurite
	GCS   Kind = "gs"     // fake-gcs-server
)

// Kinds are all of them.
var Kinds = []Kind{S3, Azure, GCS}

// The account of each server. Azurite's is the same everywhere, and documented.
const (
	account = "wpd"
	secret  = "wpd-secret"

	azureAccount = "devstoreaccount1"
	azureKey     = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

// program is the server of a kind.
type program struct {
	name, version string
	module        string // Go package that makes it; empty: it is one of npm
	file          string // what is run, below its directory
	node          bool   // which node runs
}

var programs = map[Kind]program{
	S3:    {name: "versitygw", version: "v1.8.0", module: "github.com/versity/versitygw/cmd/versitygw", file: "versitygw"},
	Azure: {name: "azurite", version: "3.37.0", file: "node_modules/azurite/dist/src/blob/main.js", node: true},
	GCS:   {name: "fake-gcs-server", version: "v1.56.1", module: "github.com/fsouza/fake-gcs-server", file: "fake-gcs-server"},
}

// dir is where a program is installed, path what is run of it.
func (p program) dir(root string) string { return filepath.Join(root, p.name+"-"+p.version) }
func (p program) path(root string) string {
	return filepath.Join(p.dir(root), filepath.FromSlash(p.file))
}

// command is how a server of a kind is started: its arguments, and what it needs
// in its environment. What it keeps on disk is below dir, which must exist.
func (k Kind) command(port, dir string) (args, env []string) {
	switch k {
	case S3:
		return []string{"--port", "127.0.0.1:" + port, "--keep-alive", "--quiet", "posix", dir},
			[]string{"ROOT_ACCESS_KEY=" + account, "ROOT_SECRET_KEY=" + secret}
	case Azure:
		return []string{
			"--blobHost", "127.0.0.1", "--blobPort", port, "--inMemoryPersistence",
			"--silent", "--disableTelemetry", "--skipApiVersionCheck",
		}, nil
	case GCS: // a public host without a port is one with any: that of a proxy, too
		return []string{
			"-host", "127.0.0.1", "-port", port, "-scheme", "http", "-backend", "memory",
			"-public-host", "127.0.0.1", "-external-url", "http://127.0.0.1:" + port, "-log-level", "error",
		}, nil
	}
	panic(fmt.Sprintf("stores: no kind %q", string(k)))
}

// url is that of a bucket, by way of addr.
func (k Kind) url(bucket, addr string) string {
	switch k {
	case S3:
		return "s3://" + bucket + "?endpoint=http://" + addr + "&region=us-east-1&use_path_style=true"
	case Azure:
		return "azblob://" + bucket + "?protocol=http&domain=" + addr
	default: // the address is in the environment
		return "gs://" + bucket
	}
}

// env is what a client of a server at addr needs in its environment.
func (k Kind) env(addr string) []string {
	switch k {
	case S3:
		return []string{
			"AWS_ACCESS_KEY_ID=" + account, "AWS_SECRET_ACCESS_KEY=" + secret, "AWS_SESSION_TOKEN=",
			"AWS_EC2_METADATA_DISABLED=true",
		}
	case Azure:
		return []string{"AZURE_STORAGE_ACCOUNT=" + azureAccount, "AZURE_STORAGE_KEY=" + azureKey}
	default:
		return []string{"STORAGE_EMULATOR_HOST=" + addr}
	}
}
