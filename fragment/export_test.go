package fragment

// For tests that are outside of the package on purpose.
var (
	NewRand      = newRand
	RandomObject = randomObject
	Goldens      = goldens
	Join         = object
)
