package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// dirs are parts of keys that sort otherwise where a store, or the file system
// below it, compares anything else than bytes: their order is that of the list.
var dirs = []string{"A", "Z", "_", "a", "a-", "a.", "a0", "aa", "aé", "b"}

// list lists once, as the store has it: nothing is sorted or checked.
func (x *exam) list(ctx context.Context, prefix, after string) (keys []string, err error) {
	err = tries(ctx, func() error {
		keys = nil
		for key, err := range x.raw.List(ctx, prefix, after) {
			if err != nil {
				return err
			}
			keys = append(keys, key)
		}
		return nil
	})
	return keys, err
}

// listAfterCreate lists each object as soon as it is created.
func (x *exam) listAfterCreate(ctx context.Context) (string, error) {
	const objects = 20
	var want []string
	prefix := x.prefix + "listed/"
	for i := range objects {
		x.opts.Progress("list what was just created", i, objects)
		key := x.key("listed/%02d", i)
		if err := x.create(ctx, key, smallBytes); err != nil {
			return "", err
		}
		want = append(want, key)
		got, err := x.list(ctx, prefix, "")
		if err != nil {
			return "", err
		}
		if diff := difference(got, want); diff != "" {
			return "", brokenf("after %d creates: %s", len(want), diff)
		}
	}
	return fmt.Sprintf("%d objects, the listing read after each create", objects), nil
}

// listOrder creates many objects, not in their order, and lists them: all, from
// one key on, and those of a prefix.
func (x *exam) listOrder(ctx context.Context) (string, error) {
	keys := make([]string, x.opts.Keys)
	for i := range keys { // 10 goes before 9
		keys[i] = x.key("list/%s/%d", dirs[i%len(dirs)], i/len(dirs))
	}
	created := 0
	for part := range slices.Chunk(keys, 4*manyAtOnce) {
		x.opts.Progress("create objects to list", created, len(keys))
		err := each(ctx, part, func(ctx context.Context, key string) error { return x.create(ctx, key, 1) })
		if err != nil {
			return "", err
		}
		created += len(part)
	}
	slices.Sort(keys)
	all := x.prefix + "list/"
	for _, l := range []struct{ prefix, after string }{
		{all, ""},
		{all, keys[len(keys)/2]},
		{all, keys[len(keys)/2] + "0"}, // between two keys, or the next one
		{all, keys[len(keys)-1]},
		{all + "a", ""},
		{all + "a/", ""},
		{all + "a", keys[len(keys)/2]},
		{all + "nothing", ""},
	} {
		got, err := x.list(ctx, l.prefix, l.after)
		if err != nil {
			return "", err
		}
		want := slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return !strings.HasPrefix(k, l.prefix) || k <= l.after })
		if diff := difference(got, want); diff != "" {
			return "", brokenf("prefix %q after %q: %s", strings.TrimPrefix(l.prefix, x.prefix), strings.TrimPrefix(l.after, x.prefix), diff)
		}
	}
	return fmt.Sprintf("%d keys: all of them, those after one, and those of a prefix", len(keys)), nil
}

// difference says where a listing is not as it should be; "" if it is.
func difference(got, want []string) string {
	for i, key := range want {
		switch {
		case i < len(got) && got[i] == key:
			continue
		case !slices.Contains(got, key):
			return fmt.Sprintf("%s is not listed", key)
		}
		return fmt.Sprintf("%s is listed where %s should be", got[i], key)
	}
	if len(got) > len(want) {
		return fmt.Sprintf("%s is listed, and should not be", got[len(want)])
	}
	return ""
}
