package cluster

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fragment"
)

func sampleHello() hello {
	return hello{
		verdict: verdictRemoved, cluster: fragment.ClusterID{1, 2}, boot: 7, nonce: fragment.Nonce{3},
		from: strings.Repeat("f", helloIDMax), to: "n2-0123456789abcdef",
	}
}

func TestHelloCodec(t *testing.T) {
	for _, h := range []hello{{}, sampleHello()} {
		b := h.encode()
		require.Len(t, b, helloBytes)
		got, err := decodeHello(b)
		require.NoError(t, err)
		require.Equal(t, h, got)
	}
	whole := sampleHello().encode()
	for i := range len(whole) * 8 {
		b := bytes.Clone(whole)
		b[i/8] ^= 1 << (i % 8)
		_, err := decodeHello(b)
		require.Errorf(t, err, "bit %d flipped", i)
	}
	newer := bytes.Clone(whole)
	newer[len(helloMagic)]++
	_, err := decodeHello(newer)
	require.ErrorContains(t, err, "speaks version 2")
	require.Equal(t, "verdict 99", verdict(99).String())
	require.Equal(t, "removed from the cluster", verdictRemoved.String())
}

func FuzzHello(f *testing.F) {
	f.Add(sampleHello().encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) != helloBytes {
			return
		}
		h, err := decodeHello(b)
		if err != nil {
			return
		}
		again, err := decodeHello(h.encode())
		require.NoError(t, err)
		require.Equal(t, h, again)
	})
}

func sampleMeta() meta {
	return meta{
		member: true, expect: 5, cluster: fragment.ClusterID{1}, probe: fragment.Nonce{2},
		grpc: strings.Repeat("g", metaAddressMax), raft: strings.Repeat("r", metaAddressMax),
	}
}

func TestMetaCodec(t *testing.T) {
	for _, m := range []meta{{}, sampleMeta()} {
		b := m.encode()
		require.LessOrEqual(t, len(b), metaBytesMax)
		got, err := decodeMeta(b)
		require.NoError(t, err)
		require.Equal(t, m, got)
		got, err = decodeMeta(append(b, "of a newer version"...))
		require.NoError(t, err)
		require.Equal(t, m, got)
		for i := range b {
			_, err := decodeMeta(b[:i])
			require.Error(t, err, i)
		}
	}
	b := sampleMeta().encode()
	b[0]++
	_, err := decodeMeta(b)
	require.ErrorContains(t, err, "speaks version 2")
}

func FuzzMeta(f *testing.F) {
	f.Add(sampleMeta().encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMeta(b)
		if err != nil {
			return
		}
		again, err := decodeMeta(m.encode())
		require.NoError(t, err)
		require.Equal(t, m, again)
	})
}

func TestNameOf(t *testing.T) {
	require.Equal(t, "n1", nameOf("n1-0123456789abcdef"))
	require.Empty(t, nameOf("short"))
}
