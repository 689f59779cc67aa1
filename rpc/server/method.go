package server

import (
	"slices"
	"strings"

	"google.golang.org/grpc"
)

// method is a method that the server has.
type method struct {
	label      string // for metrics and logs: service and method, without the package
	oneRequest bool   // exactly one message comes
	always     bool   // also while the node drains
	foreign    bool   // its streams know nothing of Drain
	peers      bool   // only other nodes call it
}

// always are the methods that tell how the node is.
var always = []string{
	"grpc.health.v1.Health/Check", "grpc.health.v1.Health/List", "grpc.health.v1.Health/Watch",
	"wpd.admin.v1.AdminService/GetStatus",
}

// registrar registers services with all their methods wrapped. It is a
// reflection.GRPCServer.
type registrar struct {
	*grpc.Server
	s     *Server
	peers bool // the services are for other nodes
}

// RegisterService implements grpc.ServiceRegistrar.
func (r registrar) RegisterService(d *grpc.ServiceDesc, impl any) {
	wrapped := *d
	wrapped.Methods, wrapped.Streams = slices.Clone(d.Methods), slices.Clone(d.Streams)
	for i := range wrapped.Methods {
		m := &wrapped.Methods[i]
		r.method(d.ServiceName, m.MethodName).oneRequest = true
		m.Handler = r.s.unary(m.Handler)
	}
	for i := range wrapped.Streams {
		m := &wrapped.Streams[i]
		r.method(d.ServiceName, m.StreamName).oneRequest = !m.ClientStreams
		m.Handler = r.s.streaming(m.Handler)
	}
	r.Server.RegisterService(&wrapped, impl)
}

func (r registrar) method(service, name string) *method {
	full := service + "/" + name
	m := &method{
		label:   service[strings.LastIndexByte(service, '.')+1:] + "/" + name,
		always:  r.peers || slices.Contains(always, full),
		foreign: r.peers || strings.HasPrefix(service, "grpc."),
		peers:   r.peers,
	}
	r.s.methods["/"+full] = m
	return m
}
