package client

import "google.golang.org/grpc/resolver"

// scheme is that of the targets that addresses resolves.
const scheme = "wpd"

// addresses resolves any target to a fixed list, which gRPC's pick_first tries
// in its order.
type addresses []string

// Build implements resolver.Builder.
func (a addresses) Build(_ resolver.Target, cc resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	var all []resolver.Endpoint
	for _, addr := range a {
		all = append(all, resolver.Endpoint{Addresses: []resolver.Address{{Addr: addr}}})
	}
	return a, cc.UpdateState(resolver.State{Endpoints: all})
}

// Scheme implements resolver.Builder.
func (addresses) Scheme() string { return scheme }

// ResolveNow implements resolver.Resolver.
func (addresses) ResolveNow(resolver.ResolveNowOptions) {}

// Close implements resolver.Resolver.
func (addresses) Close() {}
