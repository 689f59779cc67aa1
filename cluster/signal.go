package cluster

// signal wakes those who wait until something has changed. The lock of what it
// belongs to guards it.
type signal struct {
	next chan struct{} // nil while nobody waits
}

// wait returns a channel that is closed at the next change.
func (s *signal) wait() <-chan struct{} {
	if s.next == nil {
		s.next = make(chan struct{})
	}
	return s.next
}

// fire says that it has changed.
func (s *signal) fire() {
	if s.next != nil {
		close(s.next)
		s.next = nil
	}
}
