package cluster

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

func TestDataDirRefused(t *testing.T) {
	write := func(name, body string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(body), 0o600))
		}
	}
	for _, c := range []struct {
		name   string
		make   func(t *testing.T, dir string)
		reason string
	}{
		{"file", func(t *testing.T, dir string) { require.NoError(t, os.WriteFile(dir, nil, 0o600)) }, "is not a directory"},
		{"below a file", func(t *testing.T, dir string) { require.NoError(t, os.WriteFile(filepath.Dir(dir), nil, 0o600)) }, "can't be opened"},
		{"stranger", write("PG_VERSION", "17"), `it holds "PG_VERSION"`},
		{"garbled version", write(versionName, "one"), `says "one"`},
		{"version 0", write(versionName, "0"), `says "0"`},
		{"raft is a file", write(raftName, ""), "can't be written to"},
		{"foreign raft.db", write("raft/raft.db", "this is not a bolt file, but it is long enough to be one"), "damaged or unreadable raft files"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "parent", "dir")
			if c.name == "below a file" {
				require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Dir(dir)), 0o700))
			} else {
				require.NoError(t, os.MkdirAll(filepath.Dir(dir), 0o700))
			}
			c.make(t, dir)
			e := refuse[*DataDirError](t, Config{Dir: dir, Bucket: newBucket()})
			require.ErrorContains(t, e, c.reason)
		})
	}
}

// Nothing is left behind in a directory that is not ours.
func TestStrangerUntouched(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "thesis.tex"), nil, 0o600))
	refuse[*DataDirError](t, Config{Dir: dir, Bucket: newBucket()})
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)
}

func TestNewerVersions(t *testing.T) {
	dir, b := t.TempDir(), newBucket()
	require.NoError(t, open(t, dir, b).Close())
	require.NoError(t, os.WriteFile(filepath.Join(dir, versionName), []byte("2\n"), 0o600))
	e := refuse[*VersionError](t, Config{Dir: dir, Bucket: b})
	require.Equal(t, 2, e.Have)

	// The same without the file, as the records in raft's store have it.
	require.NoError(t, os.Remove(filepath.Join(dir, versionName)))
	for _, key := range [][]byte{keySelf, keyBoot} {
		was := stableGet(t, dir, key)
		stableSet(t, dir, key, bytes.Replace(was, []byte(`"version":1`), []byte(`"version":2`), 1))
		refuse[*VersionError](t, Config{Dir: dir, Bucket: b})
		stableSet(t, dir, key, bytes.Replace(was, []byte(`"version":1`), []byte(`"version":1,"x":`), 1))
		_, err := Open(t.Context(), Config{Dir: dir, Bucket: b})
		require.ErrorContains(t, err, string(key))
		stableSet(t, dir, key, was)
	}
	require.Equal(t, uint64(2), open(t, dir, b).Boot())
}

// withStores runs f on the stores of a closed data directory.
func withStores(t *testing.T, dir string, f func(*stores)) {
	t.Helper()
	d, err := openDataDir(dir)
	require.NoError(t, err)
	s, err := openStores(d, false, newRaftLogger(discard()))
	require.NoError(t, err)
	f(s)
	require.NoError(t, errors.Join(s.close(), d.close()))
}

func stableGet(t *testing.T, dir string, key []byte) (val []byte) {
	withStores(t, dir, func(s *stores) {
		var err error
		val, err = s.stable.Get(key)
		require.NoError(t, err)
	})
	return val
}

func stableSet(t *testing.T, dir string, key, val []byte) {
	withStores(t, dir, func(s *stores) { require.NoError(t, s.stable.Set(key, val)) })
}

// A crash between the two writes of raft's own bootstrap.
func TestBootstrapHalfWay(t *testing.T) {
	dir, b := t.TempDir(), newBucket()
	withStores(t, dir, func(s *stores) { require.NoError(t, s.stable.SetUint64(keyTerm, 1)) })
	propose(t, open(t, dir, b), "a")
}

// A raft log that lost its beginning, an entry, or an entry's bytes.
func TestRaftLogDamaged(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, s *stores, last uint64){
		"beginning lost": func(t *testing.T, s *stores, _ uint64) { require.NoError(t, s.logs.DeleteRange(1, 2)) },
		"entry lost":     func(t *testing.T, s *stores, last uint64) { require.NoError(t, s.logs.DeleteRange(last-1, last-1)) },
		"bit flipped": func(t *testing.T, s *stores, last uint64) {
			var l raft.Log
			for l.Type != raft.LogCommand || len(l.Data) == 0 {
				require.NoError(t, s.logs.GetLog(last, &l))
				last--
			}
			l.Data[len(l.Data)-1] ^= 4
			require.NoError(t, s.logs.StoreLog(&l))
		},
		"command cut short": func(t *testing.T, s *stores, last uint64) {
			require.NoError(t, s.logs.StoreLog(&raft.Log{Index: last + 1, Term: 9, Type: raft.LogCommand, Data: []byte{1}}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, b := t.TempDir(), newBucket()
			m := open(t, dir, b)
			propose(t, m, "a")
			propose(t, m, "b")
			require.NoError(t, m.Close())
			withStores(t, dir, func(s *stores) {
				last, err := s.logs.LastIndex()
				require.NoError(t, err)
				damage(t, s, last)
			})
			e := refuse[*DataDirError](t, Config{Dir: dir, Bucket: b})
			require.ErrorContains(t, e, "damaged raft files")
		})
	}
}

// Whatever becomes of the file, opening it ends in an error or in a member,
// never in a panic; and no panic comes later.
func TestBoltFileDamaged(t *testing.T) {
	dir, b := t.TempDir(), newBucket()
	m := open(t, dir, b)
	for i := range 20 {
		propose(t, m, string(rune('a'+i)))
	}
	require.NoError(t, m.Close())
	name := filepath.Join(raftName, boltName)
	whole, err := os.ReadFile(filepath.Join(dir, name))
	require.NoError(t, err)
	const page = 4096
	failed := 0
	for at := 0; at < len(whole); at += page {
		for _, how := range []string{"zeroed", "garbled", "cut"} {
			damaged := bytes.Clone(whole)
			switch how {
			case "zeroed":
				clear(damaged[at:min(at+page, len(damaged))])
			case "garbled":
				for i := range damaged[at:min(at+page, len(damaged))] {
					damaged[at+i] ^= byte(i*7 + 1)
				}
			case "cut":
				damaged = damaged[:at]
			}
			if bytes.Equal(damaged, whole) {
				continue
			}
			d, bucket := copyDir(t, dir), newBucket()
			for key, body := range b.objects {
				bucket.put(key, string(body))
			}
			require.NoError(t, os.WriteFile(filepath.Join(d, name), damaged, 0o600))
			m, err := Open(t.Context(), Config{Dir: d, Bucket: bucket})
			if err != nil {
				failed++
				continue
			}
			_, err = m.Grant(t.Context(), 8, 0)
			t.Log(at, how, "opened:", err)
			_ = m.Close()
		}
	}
	t.Logf("%d pages, %d refused", len(whole)/page, failed)
	require.NotZero(t, failed)
}
