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
	return fsm.LogConfig{EntryBytesMax: c.EntryBytesMax, Dedicated: c.Dedicated, Zone: c.Zone}, nil
}

func infoOf(m *fsm.Log) api.LogInfo {
	return api.LogInfo{
		Name: m.Name, ID: m.ID, ConfigVersion: m.ConfigVersion,
		Config:     api.LogConfig{EntryBytesMax: m.Config.EntryBytesMax, Dedicated: m.Config.Dedicated, Zone: m.Config.Zone},
		Generation: m.Generation, Created: time.UnixMicro(int64(m.Created)), First: m.First,
	}
}

// Lookup implements api.Service.
func (s *Service) Lookup(ctx context.Context, name string) (api.LogInfo, error) {
	for sure := false; ; sure = true {
		var m *fsm.Log
		s.cfg.Meta.View(func(st *fsm.State) { m, _ = st.LogByName(name) })
		switch {
		case m != nil:
			return s.info(ctx, m.ID)
		case sure:
			return api.LogInfo{}, fmt.Errorf("log %q: %w", name, api.ErrNotFound)
		}
		// It may have been created elsewhere, and this node not have heard of it.
		if err := s.confirm(ctx); err != nil {
			return api.LogInfo{}, err
		}
	}
}

// infoPatience is how long a question about a log waits for the leader before it
// is answered from what this node knows.
const infoPatience = time.Second

// catchUp makes View show all that was committed before the call, if there is
// a leader to ask: whoever has moved or changed a log through one node sees it
// through every other. Without one the node tells what it knows.
func (s *Service) catchUp(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, infoPatience)
	defer cancel()
	if err := s.confirm(ctx); err != nil {
		s.cfg.Logger.Debug("tell of a log without asking the leader", "err", err)
	}
}

// Info implements api.Service.
func (s *Service) Info(ctx context.Context, id fragment.LogID) (api.LogInfo, error) {
	s.catchUp(ctx)
	return s.info(ctx, id)
}

// info tells of a log by this node's metadata. It looks at every index that
// holds a part of the log.
func (s *Service) info(ctx context.Context, id fragment.LogID) (api.LogInfo, error) {
	l, err := s.log(ctx, id)
	if err != nil {
		return api.LogInfo{}, err
	}
	if err := s.load(ctx, l); err != nil {
		return api.LogInfo{}, err
	}
	st, err := s.stand(id)
	if err != nil {
		return api.LogInfo{}, err
	}
	m, info := st.log, infoOf(st.log)
	if st.chain != nil && st.chain.State == fsm.ChainOpen && st.node != nil {
		info.Writer, info.Epoch = st.node.Name, st.chain.Epoch
	}
	info.Tail = l.tailBy(m)
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
	v, _, err := s.readable(ctx, x.Epoch)
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
	s.catchUp(ctx)
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
		info, err := s.info(ctx, id)
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

// Configure implements api.Service.
func (s *Service) Configure(ctx context.Context, id fragment.LogID, version uint64, c api.LogConfig) (api.LogInfo, error) {
	l, err := s.log(ctx, id)
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
	if m, err := s.meta(id); err == nil {
		s.heed(l, m) // at once here; another node that writes it hears of it soon
	}
	return s.info(ctx, id)
}

// Trim implements api.Service.
func (s *Service) Trim(ctx context.Context, id fragment.LogID, before fragment.LSN) error {
	l, err := s.log(ctx, id)
	if err != nil {
		return err
	}
	if err := s.newest(ctx, l); err != nil {
		return err
	}
	tail, err := l.tail()
	switch {
	case err != nil:
		return err
	case before > tail:
		return &api.BeyondTailError{LSN: before, Tail: tail}
	}
	if _, err := s.cfg.Meta.Propose(ctx, fsm.NewTrim(id, before, tail)); err != nil {
		return refusal(err)
	}
	l.wake()
	return nil
}
