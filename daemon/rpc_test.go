package daemon_test

import (
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"

	"github.com/vnetd/vnetd/netdrv/nettest"
)

// What any gRPC tool asks first.
func TestHealthAndReflection(t *testing.T) {
	w := nettest.New(t)
	d := w.Daemon(t, nettest.DaemonConfig{Config: quietly})
	for _, socket := range []string{d.Socket(), d.ReadOnlySocket()} {
		conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		h, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{})
		if err != nil || h.GetStatus() != healthpb.HealthCheckResponse_SERVING {
			t.Errorf("health by %s: %v, %v", socket, h, err)
		}
		stream, err := reflectionpb.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ask := &reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}}
		if err := stream.Send(ask); err != nil {
			t.Fatal(err)
		}
		answer, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, s := range answer.GetListServicesResponse().GetService() {
			found = found || s.GetName() == "vnet.v1.NetworkService"
		}
		if !found {
			t.Errorf("reflection by %s: %v", socket, answer)
		}
	}
}
