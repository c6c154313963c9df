package files

import (
	"log/slog"
	"net"
	"net/netip"

	"github.com/vnetd/vnetd/dhcpd/boot/tftp"
)

// The headers of IP, UDP and TFTP.
const tftpHeaders4, tftpHeaders6 = 20 + 8 + 4, 40 + 8 + 4

// tftpServer is the TFTP server of a share.
type tftpServer struct {
	sock   *net.UDPConn
	server tftp.Server
}

func openTFTP(at netip.AddrPort, from *source, sock socket, counts *counts, log *slog.Logger) (*tftpServer, error) {
	c, err := sock.listenUDP(at)
	if err != nil {
		return nil, err
	}
	return &tftpServer{sock: c, server: tftp.Server{
		Allowed: func(client netip.Addr) bool { return from.now().allows(client) },
		Open:    func(name string) (tftp.File, error) { return from.open(name) },
		Dial:    func(client netip.AddrPort) (net.Conn, error) { return from.now().socket.dialUDP(at.Addr(), client) },
		MaxBlock: func() int { // fits into one packet on the bridge as it is now
			c := from.now()
			link, err := net.InterfaceByName(c.bridge)
			switch {
			case err != nil:
				return 0
			case c.Address.Addr().Is4():
				return link.MTU - tftpHeaders4
			}
			return link.MTU - tftpHeaders6
		},
		Log:  log,
		Done: func(err error) { counts.add(outcomeOf(err)) },
	}}, nil
}

func (s *tftpServer) serve()                  { s.server.Serve(s.sock) }
func (s *tftpServer) refilter(f filter) error { return refilter(s.sock, f) }
func (s *tftpServer) close()                  { _ = s.sock.Close() }
