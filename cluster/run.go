package cluster

import "context"

// run calls f in a goroutine that Close waits for, and waits for it no longer
// than ctx. Only then is its error an ErrUncertain that is not f's own.
func (m *Member) run(ctx context.Context, f func() error) error {
	select {
	case m.slots <- struct{}{}:
	case <-m.closing:
		return ErrClosed
	case <-m.failed:
		return m.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	done := make(chan error, 1)
	if !m.spawn(func() {
		defer func() { <-m.slots }()
		done <- f()
	}) {
		<-m.slots
		return ErrClosed
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return &UncertainError{Err: context.Cause(ctx)}
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
	if err := m.usableNow(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

func (m *Member) usableNow() error {
	if err := m.Err(); err != nil {
		return err
	}
	select {
	case <-m.closing:
		return ErrClosed
	default:
		return nil
	}
}
