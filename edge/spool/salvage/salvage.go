// Package salvage checks spools and gets messages out of them, for people who ask on a control socket
// or at a shell.
//
// What happens to the data: package spool counts and copies, and knows nothing of sockets. This
// package calls it and returns its results as the types of package api, so there is one translation
// for the node, for its stand-in while the spool is damaged, and for the command line. It holds no
// state and deletes nothing.
package salvage

import (
	"time"

	"anymx/edge/operate/api"
	"anymx/edge/refusal"
	"anymx/edge/spool"
)

// ErrBusy refuses requests while an export runs: both would lock the same folders.
var ErrBusy = refusal.Unavailable.Errorf("an export of the spool is under way, try again later")

// Report reports on an open spool.
func Report(s *spool.Spool) (api.SpoolReport, error) {
	r, err := s.Report()
	return api.SpoolReport(r), err
}

// Check reports on the spool in dir, which no program may have open. It changes nothing.
func Check(dir string) (api.SpoolReport, error) {
	r, err := spool.Check(dir)
	return api.SpoolReport(r), err
}

// Export copies all readable messages of the spool in dir, which no program may have open, to the
// folder to; "" only counts. each is called after each message.
func Export(dir, to string, each func(api.SpoolMessage)) (api.SpoolExport, error) {
	var folders []string
	if to != "" {
		folders = append(folders, to)
	}
	sum, err := spool.Export(dir, to, eachOf(each))
	return export(folders, sum), err
}

// ExportAside copies what was set aside of the spool in dir to folders beside it, and, if whole is
// set, the spool itself, which no program may have open then. reserve bytes of the disk stay free.
// What was exported before is left out.
func ExportAside(dir string, whole bool, reserve int64, each func(api.SpoolMessage)) (api.SpoolExport, error) {
	to, sum, err := spool.ExportAside(dir, whole, reserve, time.Now(), eachOf(each))
	return export(to, sum), err
}

func export(to []string, sum spool.Exported) api.SpoolExport {
	return api.SpoolExport{
		To:       append([]string{}, to...), // JSON [] for none, not null
		Messages: sum.Messages, Orphans: sum.Orphans, Damaged: sum.Damaged, Bytes: sum.Bytes, Problems: sum.Problems,
	}
}

func eachOf(each func(api.SpoolMessage)) func(spool.Salvaged) {
	return func(m spool.Salvaged) {
		each(api.SpoolMessage{ID: m.ID.String(), Bytes: m.Bytes, NoEnvelope: m.Envelope == nil, Problem: m.Problem})
	}
}
