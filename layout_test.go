package wpd_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/wpd-io/wpd"

// bans lists, per room, what its code must not reach, directly or not, and
// why. A ban ends in a slash where everything below is meant too.
var bans = map[string]map[string]string{
	"fragment": {
		module + "/":                  "the byte format stands on nothing of ours",
		"math/rand/v2":                "the byte format is pure: no chance",
		"time":                        "the byte format is pure: no clock",
		"os":                          "the byte format is pure: no files",
		"net":                         "the byte format is pure: no network",
		"google.golang.org/protobuf/": "the format is our own",
	},
	"fsm": {
		module + "/segment":             "metadata does not know how chains are made",
		module + "/wal":                 "metadata is below logs",
		module + "/blobstore":           "the state machine does no I/O",
		"github.com/hashicorp/raft":     "raft is known in cluster only",
		"gocloud.dev/":                  "the state machine does no I/O",
		"math/rand":                     "every replica computes the same",
		"math/rand/v2":                  "every replica computes the same",
		"google.golang.org/grpc":        "gRPC is known in rpc only",
		"github.com/prometheus/":        "the state machine is pure",
		"golang.org/x/sync/errgroup":    "the state machine starts no goroutines",
		"github.com/hashicorp/go-hclog": "the state machine logs nothing",
	},
	"segment": {
		module + "/fsm":             "a chain does not know logs' names and leases",
		module + "/wal":             "segment is below wal",
		module + "/cluster":         "a chain does not know the cluster",
		module + "/blobstore":       "segment sees objects through its own interface",
		"gocloud.dev/":              "gocloud is known in blobstore only",
		"github.com/hashicorp/raft": "raft is known in cluster only",
		"google.golang.org/grpc":    "gRPC is known in rpc only",
	},
	"wal": {
		module + "/cluster":         "wal asks the metadata through its own interface",
		module + "/blobstore":       "wal sees objects through segment's interface",
		module + "/node":            "wal is below node",
		"gocloud.dev/":              "gocloud is known in blobstore only",
		"github.com/hashicorp/raft": "raft is known in cluster only",
		"google.golang.org/grpc":    "gRPC is known in rpc only",
	},
	"wal/api": {
		module + "/wal":     "the contract is below both ends",
		module + "/segment": "the contract is below both ends",
		module + "/fsm":     "the contract is below both ends",
	},
	"cluster": {
		module + "/blobstore":    "cluster sees the bucket through its own interface",
		module + "/rpc/":         "rpc and cluster do not import each other",
		module + "/node":         "cluster is below node",
		"gocloud.dev/":           "gocloud is known in blobstore only",
		"google.golang.org/grpc": "gRPC is known in rpc only",
	},
	"blobstore": {
		module + "/fragment":        "blobstore does not know what the bytes mean",
		module + "/segment":         "blobstore is below all that use it",
		module + "/wal":             "blobstore is below all that use it",
		"github.com/hashicorp/raft": "raft is known in cluster only",
	},
	"rpc": {
		module + "/wal":             "what both ends agree on stands on the contract only",
		module + "/rpc/server":      "what both ends agree on is below them",
		module + "/rpc/client":      "what both ends agree on is below them",
		"github.com/hashicorp/raft": "raft is known in cluster only",
		"gocloud.dev/":              "gocloud is known in blobstore only",
		"github.com/prometheus/":    "a program that only dials links no metrics",
	},
	"rpc/server": {
		module:                      "the server is below who puts a node together",
		module + "/wal":             "the server sees logs through the contract",
		module + "/segment":         "the server sees logs through the contract",
		module + "/fsm":             "the server decides nothing",
		module + "/cluster":         "rpc and cluster do not import each other",
		module + "/node":            "rpc is below node",
		module + "/blobstore":       "the server sees the bucket through its own interface",
		module + "/rpc/client":      "the ends do not know each other",
		"github.com/hashicorp/raft": "raft is known in cluster only",
		"gocloud.dev/":              "gocloud is known in blobstore only",
	},
	"rpc/client": {
		module:                      "the transport is below package wpd",
		module + "/wal":             "a program that only dials links no engine",
		module + "/segment":         "a program that only dials links no engine",
		module + "/fsm":             "a program that only dials links no engine",
		module + "/cluster":         "rpc and cluster do not import each other",
		module + "/node":            "rpc is below node",
		module + "/blobstore":       "a program that only dials links no object store",
		module + "/rpc/server":      "a program that only dials links no server",
		"github.com/hashicorp/raft": "a program that only dials links no raft",
		"gocloud.dev/":              "a program that only dials links no object store",
		"github.com/prometheus/":    "a program that only dials links no metrics",
	},
	"rpc/peer": {
		module:                      "what nodes ask each other is below who puts a node together",
		module + "/wal":             "rpc/peer knows neither raft nor logs",
		module + "/segment":         "rpc/peer knows neither raft nor logs",
		module + "/fsm":             "rpc/peer knows neither raft nor logs",
		module + "/cluster":         "rpc and cluster do not import each other",
		module + "/node":            "rpc is below node",
		module + "/blobstore":       "rpc/peer knows neither raft nor logs",
		module + "/rpc/server":      "it registers on whatever serves",
		module + "/rpc/client":      "nodes ask each other in words of their own",
		"github.com/hashicorp/raft": "raft is known in cluster only",
		"gocloud.dev/":              "gocloud is known in blobstore only",
	},
	".": {
		module + "/wal":             "a program that only dials links no engine",
		module + "/segment":         "a program that only dials links no engine",
		module + "/fsm":             "a program that only dials links no engine",
		module + "/cluster":         "a program that only dials links no engine",
		module + "/node":            "node makes embedded clients, not the other way round",
		module + "/blobstore":       "a program that only dials links no object store",
		module + "/rpc/server":      "a program that only dials links no server",
		"github.com/hashicorp/raft": "a program that only dials links no raft",
		"gocloud.dev/":              "a program that only dials links no object store",
		"github.com/prometheus/":    "a program that only dials links no metrics",
	},
}

// TestLayout holds the rooms to their directions of import: for packages of
// others and of ours all that is linked counts, for the standard library only
// what the room itself imports.
func TestLayout(t *testing.T) {
	for room, banned := range bans {
		imports := list(t, `{{join .Imports "\n"}}`, "./"+room)
		deps := list(t, `{{join .Deps "\n"}}`, "./"+room)
		require.Greater(t, len(deps), 10, "go list says nothing of room %s", room)
		for ban, why := range banned {
			within := deps
			if first, _, _ := strings.Cut(ban, "/"); !strings.Contains(first, ".") {
				within = imports
			}
			for _, dep := range within {
				if dep == strings.TrimSuffix(ban, "/") || strings.HasSuffix(ban, "/") && strings.HasPrefix(dep, ban) {
					t.Errorf("%s must not import %s: %s", room, dep, why)
				}
			}
		}
	}
}

// known says which room alone knows a library, and what else may use it all the
// same.
var known = map[string]struct{ room, except string }{
	"google.golang.org/grpc":    {"rpc", "testcluster"}, // its network is gRPC's own, in memory
	"github.com/hashicorp/raft": {"cluster", ""},
	"gocloud.dev":               {"blobstore", ""},
}

// TestKnownInOneRoom: whoever else needs one of these libraries, asks the room
// that knows it.
func TestKnownInOneRoom(t *testing.T) {
	within := func(path, root string) bool { return path == root || strings.HasPrefix(path, root+"/") }
	met := make(map[string]bool)
	for _, line := range lines(t, `{{$p := .ImportPath}}{{range .Imports}}{{$p}} {{.}}{{"\n"}}{{end}}`, "./...") {
		importer, imported, _ := strings.Cut(line, " ")
		room := strings.TrimPrefix(importer, module+"/")
		for library, who := range known {
			switch {
			case !within(imported, library):
			case within(room, who.room):
				met[library] = true
			case who.except == "" || !within(room, who.except):
				t.Errorf("%s must not import %s: it is known in %s only", room, imported, who.room)
			}
		}
	}
	require.Len(t, met, len(known), "go list has shown only %v", met)
}

// TestTestsStayOutside: nothing that ships links what only tests need. That
// raft-autopilot brings its mocks along, and testify with them, is not ours to
// change; nothing of ours may import it.
func TestTestsStayOutside(t *testing.T) {
	bans := []string{module + "/testcluster", module + "/blobstore/blobtest", "github.com/stretchr/testify"}
	for _, dep := range list(t, `{{join .Deps "\n"}}`, "./cmd/wpd") {
		if dep != module && !strings.HasPrefix(dep, module+"/") {
			continue
		}
		for _, imported := range list(t, `{{join .Imports "\n"}}`, dep) {
			for _, ban := range bans {
				if imported == ban || strings.HasPrefix(imported, ban+"/") {
					t.Errorf("%s must not import %s: cmd/wpd links it, and only tests need that", dep, imported)
				}
			}
		}
	}
}

func list(t *testing.T, format, pkg string) []string {
	t.Helper()
	return strings.Fields(strings.Join(lines(t, format, pkg), " "))
}

func lines(t *testing.T, format, pkg string) []string {
	t.Helper()
	out, err := exec.Command("go", "list", "-f", format, pkg).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return strings.Split(string(out), "\n")
}
