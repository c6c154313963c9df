// Package files serves directories to the guests of virtual networks, read-only,
// by TFTP and HTTP: boot files.
//
//	s := files.New(log)
//	err := s.Set(files.Config{Network: "lab", Interface: "virbr1", Shares: …})
//	err = s.Run(ctx)
//
// # Clients
//
// Each share has sockets of its own on one address of the host. A filter in
// the kernel accepts only packets that arrive on the network's bridge or on lo, that
// is, from the host itself, and TFTP, which has no handshake, answers only
// addresses of the share's own subnet.
//
// # Files
//
// Regular files below the root are served, whatever name a client uses: a path cannot
// leave it, and a symbolic link that points out of it is refused (os.Root). The
// root is opened for each file, so that a directory that is replaced by
// another is served from then on. There are no listings.
//
// # Bounds
//
// A file is sent from the disk as the client takes it. TFTP: 256 transfers a
// share, 16 a client, see package tftp. HTTP: 256 connections a share, 16 a
// client, 10 s for a request, 30 s for a client to take what was sent. When all
// are in use, the oldest transfer without an acknowledgement, or connection without
// a request under way, makes room for a new one.
package files
