package edge

import "anymx/edge/service"

// parts returns the parts that answer systemd's watchdog. Each answers without the disk: a hanging
// disk makes the node unready within two seconds, which withdraws its routes, and refuses mail
// within ten. Killing the process would not help: a process that waits for a disk can't exit, its
// successor would wait for the same disk in recovery and be killed in turn, and everything in
// memory and in flight, and the answers of the control socket, would be lost.
func (n *Node) parts() []service.Part {
	return []service.Part{
		{Name: "drain", Answers: n.drain.Answers},
		{Name: "ingress", Answers: func() { n.ingress.Registry().Open() }},
		{Name: "queue", Answers: func() { n.queue.Stats() }},
		{Name: "spool", Answers: n.spool.Answers},
		service.ControlPart(n.reloader.Config().Node.Control, n.log),
	}
}
