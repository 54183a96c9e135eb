// Package gobgp runs GoBGP's server as the router at the far side of a test.
//
// What happens to the data: the server's log is dropped, and its loop, which has no end of its own,
// ends after the operation that follows EndAfterNext.
package gobgp

import (
	"runtime"
	"sync/atomic"
	"time"

	"github.com/osrg/gobgp/v3/pkg/log"
	"github.com/osrg/gobgp/v3/pkg/server"
)

// Server is GoBGP's server. The caller runs Serve.
type Server struct {
	*server.BgpServer
	last atomic.Bool // the next operation is the last one
}

// NewServer returns a server that does not run yet.
func NewServer() *Server {
	s := new(Server)
	s.BgpServer = server.NewBgpServer(server.LoggerOption(quiet{}), server.TimingHookOption(s))
	return s
}

// EndAfterNext makes Serve end after the next operation.
func (s *Server) EndAfterNext() { s.last.Store(true) }

// Observe is called by the server's loop after each operation.
func (s *Server) Observe(op server.FSMOperation, _, _ time.Duration) {
	if op == server.FSMMgmtOp && s.last.Load() {
		runtime.Goexit()
	}
}

// quiet is the server's log.
type quiet struct{}

func (quiet) Panic(message string, _ log.Fields) { panic(message) }
func (quiet) Fatal(message string, _ log.Fields) { panic(message) }
func (quiet) Error(string, log.Fields)           {}
func (quiet) Warn(string, log.Fields)            {}
func (quiet) Info(string, log.Fields)            {}
func (quiet) Debug(string, log.Fields)           {}
func (quiet) SetLevel(log.LogLevel)              {}
func (quiet) GetLevel() log.LogLevel             { return log.InfoLevel }
