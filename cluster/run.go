package cluster

import "context"

// run calls f in a goroutine that Close waits for, and waits for it no longer
// than ctx. It returns started false if f was not and will not be called.
func (m *Member) run(ctx context.Context, f func() error) (started bool, err error) {
	select {
	case m.slots <- struct{}{}:
	case <-m.closing:
		return false, ErrClosed
	case <-m.failed:
		return false, m.Err()
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	done := make(chan error, 1)
	if !m.spawn(func() {
		defer func() { <-m.slots }()
		done <- f()
	}) {
		<-m.slots
		return false, ErrClosed
	}
	select {
	case err := <-done:
		return true, err
	case <-ctx.Done():
		return true, &UncertainError{Err: context.Cause(ctx)}
	}
}

func (m *Member) spawn(f func()) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return false
	}
	m.running.Go(f)
	return true
}

// usable returns why no call can be served, nil if calls can.
func (m *Member) usable(ctx context.Context) error {
	if err := m.Err(); err != nil {
		return err
	}
	select {
	case <-m.closing:
		return ErrClosed
	default:
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}
