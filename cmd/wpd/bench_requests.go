package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/wpd-io/wpd/rpc/wpdpb/adminv1"
)

// requestsMetric counts what a server asks of its object store, in all its
// series together.
const requestsMetric = "wpd_blobstore_requests_total"

// metricsAddr is where the metrics of a server can be had, which was dialled at
// a host.
func metricsAddr(dialled string, s *adminv1.GetStatusResponse) (string, error) {
	for _, l := range s.GetListeners() {
		if l.GetName() != "http" {
			continue
		}
		host, port, err := net.SplitHostPort(l.GetAddr())
		if err != nil {
			return "", fmt.Errorf("HTTP listener of the server: %w", err)
		}
		switch ip := net.ParseIP(host); {
		case ip.IsUnspecified():
			host = dialled // it listens everywhere
		case ip.IsLoopback() && !isLoopback(dialled):
			return "", fmt.Errorf("the server's metrics are on its own loopback, %s", l.GetAddr())
		}
		return net.JoinHostPort(host, port), nil
	}
	return "", errors.New("the server has no HTTP listener, and so no metrics")
}

func isLoopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// storeRequests asks a server's metrics how often it has asked its store so
// far.
func storeRequests(ctx context.Context, dialled string, s *adminv1.GetStatusResponse) (uint64, error) {
	return askMetric(ctx, dialled, s, requestsMetric, "")
}

// storeReads is storeRequests, but only those that read.
func storeReads(ctx context.Context, dialled string, s *adminv1.GetStatusResponse) (uint64, error) {
	return askMetric(ctx, dialled, s, requestsMetric, `op="read"`)
}

// askMetric asks a server's metrics for the sum of a counter's series that have a
// label.
func askMetric(ctx context.Context, dialled string, s *adminv1.GetStatusResponse, name, label string) (uint64, error) {
	addr, err := metricsAddr(dialled, s)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close() //nolint:errcheck // it was read only
	if response.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("GET %s: %s", r.URL, response.Status)
	}
	n, err := sumMetric(response.Body, name, label)
	if err != nil {
		return 0, fmt.Errorf("GET %s: %w", r.URL, err)
	}
	return n, nil
}

// sumMetric adds up the series of a counter in Prometheus' text format that have
// a label; all of them, if that is empty.
func sumMetric(r io.Reader, name, label string) (uint64, error) {
	lines := bufio.NewScanner(io.LimitReader(r, 16<<20))
	lines.Buffer(nil, 1<<20)
	var sum float64
	found := false
	for lines.Scan() {
		rest, ok := strings.CutPrefix(lines.Text(), name)
		if !ok || rest == "" || rest[0] != '{' && rest[0] != ' ' {
			continue
		}
		value := strings.Fields(rest[strings.LastIndexByte(rest, '}')+1:])
		if len(value) == 0 {
			return 0, fmt.Errorf("%q has no value", lines.Text())
		}
		v, err := strconv.ParseFloat(value[0], 64)
		if err != nil || !(v >= 0) {
			return 0, fmt.Errorf("%q has no number", lines.Text())
		}
		if found = true; strings.Contains(rest, label) {
			sum += v
		}
	}
	if err := lines.Err(); err != nil {
		return 0, err
	}
	if !found {
		return 0, fmt.Errorf("no metric %s", name)
	}
	return uint64(sum), nil
}
