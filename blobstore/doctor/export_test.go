package doctor

// SmallLarge makes large objects small, for stores in memory that don't care.
func SmallLarge(o Options) Options {
	o.large = 4 << 10
	return o
}
