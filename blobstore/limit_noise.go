package blobstore

const (
	// noiseMax is the largest share of throttled requests that is put up with: a
	// store that refuses more is to be left alone.
	noiseMax = 0.5
	// noiseWeight is what one answer counts in a share.
	noiseWeight = 1.0 / 32
	// noiseSlack is how many times the noise is forgiven in the long run, and
	// noiseSaved how many requests a share of one would save up.
	noiseSlack, noiseSaved = 1.5, 16
)

// noise is what a store throttles however few requests there are: because it is
// busy with others, or at random. To send fewer at once does not help against
// that, and would end with one at a time. It is seen in the requests that were
// alone in flight, as there can't be fewer; and as many throttled ones as follow
// from it cut no limit. There is none as long as no request is throttled alone.
// Not for concurrent use.
type noise struct {
	alone float64 // the share that was throttled of those alone; at most noiseMax
	all   float64 // and of all, of late
	saved float64 // how many throttled requests will be forgiven
}

// answered takes in a request that was answered.
func (n *noise) answered(alone bool) {
	n.note(alone, 0)
	n.saved = min(n.saved+noiseSlack*n.alone/(1-n.alone), noiseSaved*n.alone)
}

// throttled takes in one that was throttled, and reports whether that is forgiven.
func (n *noise) throttled(alone bool) (forgiven bool) {
	n.note(alone, 1)
	if n.saved < 1 {
		return false
	}
	n.saved--
	return true
}

// note takes in an answer. Few requests are alone once the limit is higher, so
// the share of those is corrected by that of all, of which no fewer can be
// throttled; half as many only are no chance.
func (n *noise) note(alone bool, throttled float64) {
	if alone {
		n.alone = min(n.alone+(throttled-n.alone)*noiseWeight, noiseMax)
	}
	if n.all += (throttled - n.all) * noiseWeight; n.all < n.alone/2 {
		n.alone = n.all
	}
}
