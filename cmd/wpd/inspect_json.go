package main

import (
	"fmt"
	"reflect"
	"strings"
	"unicode"

	"github.com/wpd-io/wpd/fragment"
)

// inspectionJSON is an inspection as JSON. Names of fields are those of
// docs/format.md, with underscores.
type inspectionJSON struct {
	Object    string         `json:"object"`
	Size      int64          `json:"size"`
	OK        bool           `json:"ok"`
	Error     string         `json:"error,omitempty"`
	Kind      string         `json:"kind,omitempty"`
	Content   map[string]any `json:"content,omitempty"` // of cluster.json and boots
	Head      any            `json:"head,omitempty"`
	Footer    any            `json:"footer,omitempty"`
	Checks    []checkJSON    `json:"checks,omitempty"`
	Directory any            `json:"directory,omitempty"`
	Batches   []batchJSON    `json:"batches,omitempty"`
}

type checkJSON struct {
	What   string `json:"what"`
	Offset int    `json:"offset"`
	Have   string `json:"have"`
	Want   string `json:"want"`
	OK     bool   `json:"ok"`
}

type batchJSON struct {
	Log           fragment.LogID         `json:"log,omitempty"`
	Offset        int                    `json:"offset"`
	Length        int                    `json:"length"`
	OK            bool                   `json:"ok"`
	Error         string                 `json:"error,omitempty"`
	Checks        []checkJSON            `json:"checks,omitempty"`
	From          fragment.LSN           `json:"from,omitempty"`
	To            fragment.LSN           `json:"to,omitempty"`
	Time          fragment.Micros        `json:"time,omitempty"`
	Epoch         fragment.Epoch         `json:"epoch,omitempty"`
	Attachment    fragment.Attachment    `json:"attachment,omitempty"`
	Producer      fragment.ProducerID    `json:"producer,omitempty"`
	ProducerEpoch fragment.ProducerEpoch `json:"producer_epoch,omitempty"`
	FirstSequence uint64                 `json:"first_sequence,omitempty"`
	Generation    fragment.Generation    `json:"generation,omitempty"`
	Codec         string                 `json:"codec,omitempty"`
	RawLength     int                    `json:"raw_length,omitempty"`
	Entries       []batchEntryJSON       `json:"entries,omitempty"`
}

type batchEntryJSON struct {
	LSN     fragment.LSN `json:"lsn"`
	Headers []headerJSON `json:"headers,omitempty"`
	dataJSON
}

func (in *inspection) json() inspectionJSON {
	j := inspectionJSON{Object: in.Object, Size: in.Size, OK: in.err == nil, Content: in.own, Checks: checksJSON(in.x.Checks)}
	if in.err != nil {
		j.Error = in.err.Error()
	}
	if in.x.Head != nil {
		j.Kind, j.Head = in.x.Head.Kind.String(), plain(reflect.ValueOf(*in.x.Head))
	}
	if in.x.Footer != nil {
		j.Footer = plain(reflect.ValueOf(*in.x.Footer))
	}
	if in.x.Directory != nil {
		j.Directory = plain(reflect.ValueOf(*in.x.Directory))
	}
	for _, s := range in.batches {
		for _, b := range s.batches {
			j.Batches = append(j.Batches, batchAsJSON(s, b))
		}
	}
	return j
}

func batchAsJSON(s inspectedSlice, x fragment.ExaminedBatch) batchJSON {
	j := batchJSON{Log: s.log, Offset: x.Offset, Length: x.Length, OK: x.Err == nil, Checks: checksJSON(x.Checks)}
	if x.Err != nil {
		j.Error = x.Err.Error()
	}
	b := x.Batch
	if b.Len() == 0 {
		return j
	}
	j.From, j.To, j.Time, j.Epoch, j.Attachment = b.From(), b.To(), b.Time(), b.Epoch(), b.Attachment()
	j.Producer, j.ProducerEpoch, j.FirstSequence, j.Generation = b.Producer(), b.ProducerEpoch(), b.FirstSeq(), b.Generation()
	j.Codec, j.RawLength = b.Codec().String(), b.RawLen()
	if s.entries {
		for lsn, e := range entriesOf(b) {
			j.Entries = append(j.Entries, batchEntryJSON{lsn, makeHeadersJSON(e.Headers), makeDataJSON(e.Data)})
		}
	}
	return j
}

func checksJSON(checks []fragment.Check) []checkJSON {
	var all []checkJSON
	for _, c := range checks {
		all = append(all, checkJSON{c.What, c.Offset, fmt.Sprintf("%08x", c.Have), fmt.Sprintf("%08x", c.Want), c.OK()})
	}
	return all
}

// plain turns a value of package fragment into what encoding/json prints with
// snake_case names: structs become maps, and what names itself its text.
func plain(v reflect.Value) any {
	switch x := v.Interface().(type) {
	case fragment.Kind, fragment.ClusterID, fragment.Nonce:
		return fmt.Sprint(x)
	case fragment.Epoch:
		return uint64(x)
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return plain(v.Elem())
	case reflect.Slice:
		all := make([]any, v.Len())
		for i := range all {
			all[i] = plain(v.Index(i))
		}
		return all
	case reflect.Struct:
		fields := make(map[string]any)
		for i := range v.NumField() {
			f := v.Type().Field(i)
			empty := v.Field(i).Kind() == reflect.Slice && v.Field(i).Len() == 0 || v.Field(i).Kind() == reflect.Pointer && v.Field(i).IsNil()
			if f.IsExported() && !empty {
				fields[snake(f.Name)] = plain(v.Field(i))
			}
		}
		return fields
	}
	return v.Interface()
}

// snake is a Go name in snake_case.
func snake(name string) string {
	var b strings.Builder
	lower := false
	for _, r := range name {
		if unicode.IsUpper(r) && lower {
			b.WriteByte('_')
		}
		lower = unicode.IsLower(r)
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
