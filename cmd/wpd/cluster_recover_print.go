package main

import (
	"fmt"
	"io"
	"reflect"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wpd-io/wpd/cluster"
	"github.com/wpd-io/wpd/node"
)

// recoverLogsShown is how many logs are listed for people; -o json has all.
const recoverLogsShown = 50

// recoveryJSON is what the commands print for programs.
type recoveryJSON struct {
	*cluster.RecoveryReport
	Done    bool   `json:"done"` // false: it is what would be done
	DataDir string `json:"data_dir"`
}

// tellRecovery prints what was found, and what was or would be done with it.
func tellRecovery(cmd *cobra.Command, r *cluster.RecoveryReport, c node.RecoverConfig, done bool) error {
	return printResult(cmd, recoveryJSON{r, done, c.DataDir}, func(w io.Writer, ink ink) error { return printRecovery(w, ink, r, c) })
}

func printRecovery(w io.Writer, ink ink, r *cluster.RecoveryReport, c node.RecoverConfig) error {
	from := "of data directory " + c.DataDir
	switch {
	case c.Snapshot != nil:
		from = "saved"
	case r.RaftIndex == 0:
		from = "none, but what the bucket tells"
	}
	behind := "as far as the bucket tells, these are the latest"
	if r.BucketRaftIndex > r.RaftIndex {
		behind = fmt.Sprintf("the bucket tells of raft index %d: they are behind", r.BucketRaftIndex)
	}
	if r.RaftIndex > 0 {
		from += fmt.Sprintf(", at raft index %d; %s", r.RaftIndex, behind)
	}
	err := printFields(w, ink, [][2]string{
		{"cluster", r.Cluster},
		{"metadata", from},
		{"incarnation", fmt.Sprintf("%d is begun by node %s", r.Incarnation, r.Node)},
		{"chains", fmt.Sprintf("%s; %s not in the metadata, %s to seal", countText(r.Chains), countText(r.ChainsAdopted), countText(r.ChainsSealed))},
		{"logs", fmt.Sprintf("%s; %s", countText(r.LogsTotal), logsText(r))},
		{"put out", strings.Join(r.Removed, ", ")},
	})
	if err != nil {
		return err
	}
	if err := printRecoveredLogs(w, ink, r); err != nil {
		return err
	}
	for _, l := range r.Dropped {
		fmt.Fprintf(w, "not taken in: log %s (%d): %s\n", l.Name, l.ID, l.Reason)
	}
	for _, text := range r.Conflicts {
		fmt.Fprintln(w, ink.red("conflict: ")+text)
	}
	_, err = fmt.Fprint(w, cantKnow(r, c))
	return err
}

// logsText counts the logs by what became of them.
func logsText(r *cluster.RecoveryReport) string {
	count := map[string]int{}
	for _, l := range r.Logs {
		count[l.State]++
	}
	text := fmt.Sprintf("%s not in the metadata, %s went on elsewhere since", countText(count["adopted"]), countText(count["went on"]))
	if r.Fenced > 0 {
		text += fmt.Sprintf("; exclusive writers of %s must open again", plural(r.Fenced, "log"))
	}
	return text
}

func printRecoveredLogs(w io.Writer, ink ink, r *cluster.RecoveryReport) error {
	var rows [][]string
	for _, l := range r.Logs[:min(len(r.Logs), recoverLogsShown)] {
		tail := countText(uint64(l.Tail))
		if l.Missing {
			tail += " at least: objects are lost"
		}
		rows = append(rows, []string{l.Name, countText(uint64(l.ID)), l.State, countText(uint64(l.First)), tail})
	}
	if len(rows) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	if err := printTable(w, ink, []column{{"log", true}, {"id", false}, {"state", true}, {"first", false}, {"tail", false}}, rows); err != nil {
		return err
	}
	if left := len(r.Logs) - len(rows); left > 0 {
		fmt.Fprintf(w, "… and %s; -o json lists all\n", plural(left, "more log"))
	}
	_, err := fmt.Fprintln(w)
	return err
}

// cantKnow says what is lost with the metadata.
func cantKnow(r *cluster.RecoveryReport, c node.RecoverConfig) string {
	if c.Snapshot == nil && r.RaftIndex == 0 {
		return `it can't know, as there are no metadata:
  - which logs were deleted: all that have entries are back, but for those whose name another log got
  - how far logs were trimmed since a node took them last: that is readable again
  - logs without any entry, and which logs had a chain of their own or a zone
`
	}
	return `it can't know, of what came after these metadata:
  - which logs were deleted: they are back
  - how far logs were trimmed since a node took them last: that is readable again
  - new logs without any entry, and new settings: a log that is not in the metadata has no chain of its own and no zone
`
}

func sameFindings(a, b *cluster.RecoveryReport) bool { return reflect.DeepEqual(a, b) }

// sayGoOn says what comes next.
func sayGoOn(cmd *cobra.Command, r *cluster.RecoveryReport, c node.RecoverConfig) error {
	_, err := fmt.Fprintf(cmd.ErrOrStderr(), `incarnation %d is ready in %s
now: start node %s on it, as before; then give every other node an empty data directory, and start it with --join: it becomes a new member
then: wpd verify --bucket %s
`, r.Incarnation, c.DataDir, r.Node, c.Bucket)
	return err
}
