package fragment

import "fmt"

// Kind says what an object of the fragment format is.
type Kind uint8

// The kinds; the values are part of the format.
const (
	KindFragment Kind = 1 // slices of logs
	KindOpening  Kind = 2 // object 0 of a chain
	KindSeal     Kind = 3 // the end of a chain
	KindGap      Kind = 4 // stands where the store lost a fragment
	KindIndex    Kind = 5 // where the slices of a cut or sealed segment are, and the logs' states at its end
)

var kindNames = map[Kind]string{
	KindFragment: "fragment", KindOpening: "opening", KindSeal: "seal", KindGap: "gap", KindIndex: "index",
}

func (k Kind) String() string {
	if s, ok := kindNames[k]; ok {
		return s
	}
	return fmt.Sprintf("kind %d", uint8(k))
}
