package wal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/segment"
	"github.com/wpd-io/wpd/wal/api"
)

// Create implements api.Service.
func (s *Service) Create(ctx context.Context, name string, c api.LogConfig) (api.LogInfo, error) {
	config, err := configOf(c)
	if err != nil {
		return api.LogInfo{}, err
	}
	created := fragment.Micros(time.Now().UnixMicro())
	r, err := s.cfg.Meta.Propose(ctx, fsm.NewCreateLog(name, config, created))
	if err != nil {
		return api.LogInfo{}, refusal(err)
	}
	info := infoOf(r.Log)
	info.Tail = info.First
	return info, nil
}

func configOf(c api.LogConfig) (fsm.LogConfig, error) {
	switch {
	case c.EntryBytesMax == 0:
		c.EntryBytesMax = fragment.EntryBytesDefault
	case c.EntryBytesMax > fragment.EntryBytesMax:
		return fsm.LogConfig{}, &api.LimitError{What: "configured entry bytes", Limit: fragment.EntryBytesMax, Value: uint64(c.EntryBytesMax)}
	}
	return fsm.LogConfig{EntryBytesMax: c.EntryBytesMax}, nil
}

func infoOf(m *fsm.Log) api.LogInfo {
	return api.LogInfo{
		Name: m.Name, ID: m.ID, Config: api.LogConfig{EntryBytesMax: m.Config.EntryBytesMax}, ConfigVersion: m.ConfigVersion,
		Generation: m.Generation, Created: time.UnixMicro(int64(m.Created)), First: m.First,
	}
}

// Lookup implements api.Service.
func (s *Service) Lookup(ctx context.Context, name string) (api.LogInfo, error) {
	var m *fsm.Log
	s.cfg.Meta.View(func(st *fsm.State) { m, _ = st.LogByName(name) })
	if m == nil {
		return api.LogInfo{}, fmt.Errorf("log %q: %w", name, api.ErrNotFound)
	}
	return s.Info(ctx, m.ID)
}

// Info implements api.Service. It looks at every index that holds a part of
// the log.
func (s *Service) Info(ctx context.Context, id fragment.LogID) (api.LogInfo, error) {
	l, err := s.log(id)
	if err != nil {
		return api.LogInfo{}, err
	}
	if err := s.load(ctx, l); err != nil {
		return api.LogInfo{}, err
	}
	m, err := s.meta(id)
	if err != nil {
		return api.LogInfo{}, err
	}
	info := infoOf(m)
	l.mu.Lock()
	info.Tail = l.durable
	l.mu.Unlock()
	for i, x := range m.Extents {
		to := info.Tail
		if i+1 < len(m.Extents) {
			to = m.Extents[i+1].First
		}
		if to <= x.First {
			continue
		}
		info.Extents = append(info.Extents, api.Extent{Chain: x.Epoch, Attachment: x.Attachment, From: x.First, To: to})
		if err := s.measure(ctx, &info, x, to); err != nil {
			return api.LogInfo{}, err
		}
	}
	return info, nil
}

// measure adds up the bytes of an extent.
func (s *Service) measure(ctx context.Context, info *api.LogInfo, x fsm.Extent, to fragment.LSN) error {
	v, err := s.view(x.Epoch)
	if err != nil {
		return err
	}
	k := segment.Stay{Log: info.ID, Attachment: x.Attachment, First: x.First}
	for lsn := x.First; lsn < to; {
		rows, err := s.reader.Rows(ctx, v, k, lsn, 1<<20)
		if err != nil {
			return fmt.Errorf("%w: %w", api.ErrUnavailable, err)
		}
		if len(rows) == 0 {
			return nil
		}
		for _, r := range rows {
			info.Bytes += uint64(r.Length)
			if r.End() <= info.First {
				info.TrimmedBytes += uint64(r.Length)
			}
			lsn = r.End()
		}
	}
	return nil
}

// List implements api.Service.
func (s *Service) List(ctx context.Context, prefix, after string, limit int) ([]api.LogInfo, error) {
	if limit <= 0 {
		limit = 1000
	}
	var ids []fragment.LogID
	s.cfg.Meta.View(func(st *fsm.State) {
		for m := range st.LogsFrom(prefix, after) {
			if len(ids) == limit {
				return
			}
			ids = append(ids, m.ID)
		}
	})
	var all []api.LogInfo
	for _, id := range ids {
		info, err := s.Info(ctx, id)
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted meanwhile
		}
		if err != nil {
			return nil, err
		}
		all = append(all, info)
	}
	return all, nil
}

// Delete implements api.Service.
func (s *Service) Delete(ctx context.Context, id fragment.LogID) error {
	l, err := s.log(id)
	if err != nil {
		return err
	}
	_, err = s.cfg.Meta.Propose(ctx, fsm.NewDeleteLog(id))
	if err = refusal(err); err != nil && !errors.Is(err, api.ErrNotFound) {
		// Deleted or not? No append may be acknowledged to a log that is gone.
		known, cancel := context.WithTimeout(context.WithoutCancel(ctx), proposeTimeout)
		defer cancel()
		_, again := s.cfg.Meta.Propose(known, fsm.NewDeleteLog(id))
		if again = refusal(again); again != nil && !errors.Is(again, api.ErrNotFound) {
			return err
		}
		err = nil
	}
	s.forget(l)
	return err
}

// forget takes a deleted log out of this node.
func (s *Service) forget(l *log) {
	s.mu.Lock()
	delete(s.logs, l.id)
	s.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deleted = true
	l.wakeLocked()
}

// Configure implements api.Service.
func (s *Service) Configure(ctx context.Context, id fragment.LogID, version uint64, c api.LogConfig) (api.LogInfo, error) {
	l, err := s.log(id)
	if err != nil {
		return api.LogInfo{}, err
	}
	config, err := configOf(c)
	if err != nil {
		return api.LogInfo{}, err
	}
	if _, err := s.cfg.Meta.Propose(ctx, fsm.NewConfigureLog(id, version, config)); err != nil {
		return api.LogInfo{}, refusal(err)
	}
	l.mu.Lock()
	l.limits = limitsOf(config)
	l.mu.Unlock()
	return s.Info(ctx, id)
}

// Trim implements api.Service.
func (s *Service) Trim(ctx context.Context, id fragment.LogID, before fragment.LSN) error {
	l, err := s.log(id)
	if err != nil {
		return err
	}
	tail, err := s.Tail(ctx, id, api.Level{})
	if err != nil {
		return err
	}
	if before > tail {
		return &api.BeyondTailError{LSN: before, Tail: tail}
	}
	if _, err := s.cfg.Meta.Propose(ctx, fsm.NewTrim(id, before, tail)); err != nil {
		return refusal(err)
	}
	l.wake()
	return nil
}

// Tail implements api.Service. This node writes all its logs, so that what it
// knows of them is never old.
func (s *Service) Tail(ctx context.Context, id fragment.LogID, level api.Level) (fragment.LSN, error) {
	l, err := s.log(id)
	if err != nil {
		return 0, err
	}
	if err := s.level(ctx, l, level); err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.deleted {
		return 0, fmt.Errorf("log %d: %w", id, api.ErrDeleted)
	}
	return l.durable, nil
}

// Limits is what batches of a log are held to now. It asks nobody. Errors:
// ErrDeleted, ErrNotFound, ErrClosed.
func (s *Service) Limits(id fragment.LogID) (fragment.Limits, error) {
	l, err := s.log(id)
	if err != nil {
		return fragment.Limits{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.limits, nil
}

// level waits until a read of the log is as fresh as is asked.
func (s *Service) level(ctx context.Context, l *log, level api.Level) error {
	if level.Linearizable {
		if err := s.cfg.Meta.Confirm(ctx); err != nil {
			return fmt.Errorf("%w: confirm that this node still writes the log: %w", api.ErrUnavailable, err)
		}
	}
	if err := s.load(ctx, l); err != nil {
		return err
	}
	for level.AtLeast != 0 {
		l.mu.Lock()
		durable, deleted, moved := l.durable, l.deleted, l.moved
		l.mu.Unlock()
		switch {
		case s.isClosed():
			return api.ErrClosed
		case durable > level.AtLeast || deleted:
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return &api.BeyondTailError{LSN: level.AtLeast, Tail: durable}
		}
	}
	return nil
}
