package offline

import (
	"fmt"
	"slices"

	"github.com/wpd-io/wpd/fragment"
)

// batches implements sink.
func (cc *chainCheck) batches(st *stand, n uint64, all []fragment.Batch) {
	l := cc.logs[st.log]
	for _, b := range all {
		cc.r.Batches++
		cc.r.Entries += uint64(b.Count())
		if l == nil {
			continue // attached since the logs were looked up
		}
		for _, wrong := range l.next(b) {
			cc.r.problem(Problem{Kind: KindOrder, Object: fragment.ChainKey(cc.c.epoch, n), Log: st.log, Name: l.name, From: b.From(), To: b.To(), Detail: wrong})
		}
	}
}

// lost implements sink.
func (cc *chainCheck) lost(st *stand, from, to fragment.LSN, at []*loss) {
	p := Problem{Object: cc.at, Log: st.log, Name: cc.name(st.log), From: from, To: to}
	switch {
	case len(at) > 0:
		p.Kind, p.Object, p.Detail = kindOf(at[0].err), at[0].key, reason(at[0].err)
		for i, l := range at {
			l.named = true
			p.Objects += l.count
			if i > 0 {
				p.Detail += fmt.Sprintf("; %s: %s", l.key, reason(l.err))
			}
		}
	case cc.atEnd:
		p.Kind, p.Detail = KindMissing, "is not there, though the log went on"
	default:
		p.Kind, p.Detail = KindHole, "goes on behind these entries, which are nowhere"
	}
	cc.verifier.lost(p)
}

// double implements sink.
func (cc *chainCheck) double(st *stand, n uint64, from, to fragment.LSN) {
	cc.r.problem(Problem{Kind: KindDouble, Object: fragment.ChainKey(cc.c.epoch, n), Log: st.log, Name: cc.name(st.log),
		From: from, To: to, Detail: "holds entries that stand elsewhere too"})
}

func (cc *chainCheck) mismatch(key, detail string) {
	cc.r.problem(Problem{Kind: KindMismatch, Object: key, Detail: detail})
}

func sorted(stays map[fragment.Attachment]*stand) []fragment.Attachment {
	all := make([]fragment.Attachment, 0, len(stays))
	for a := range stays {
		all = append(all, a)
	}
	slices.Sort(all)
	return all
}
