package testcluster

import (
	"testing"

	"go.uber.org/goleak"
)

// What memberlist has begun to probe outlives it by a second or a few.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/hashicorp/memberlist.(*Memberlist).probe"))
}
