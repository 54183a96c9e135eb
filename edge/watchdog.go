package edge

import "anymx/edge/service"

// parts are those that answer systemd's watchdog. Each answers without the disk:
// one that hangs makes the node unready within two seconds, which withdraws its
// routes, and refuses mail within ten. To be killed would not help it. A process
// that waits for a disk can't end, the next one would wait for the same disk in
// its recovery, and be killed in turn, and what is in memory and in flight, and
// what the control socket could tell, would be gone.
func (n *Node) parts() []service.Part {
	return []service.Part{
		{Name: "drain", Answers: n.drain.Answers},
		{Name: "ingress", Answers: func() { n.ingress.Registry().Open() }},
		{Name: "queue", Answers: func() { n.queue.Stats() }},
		{Name: "spool", Answers: n.spool.Answers},
		service.ControlPart(n.reloader.Config().Node.Control, n.log),
	}
}
