// Package control is how people and programs talk to a node that runs: HTTP
// and JSON over a unix socket, and a TCP listener for metrics, health and a
// status page. Server and client live here together, so that both sides of the
// socket are compiled from one set of types, those of package api.
//
// What happens to the data:
//
//  1. Listen makes the unix socket, mode 0660: whoever may open it may do
//     everything that the socket offers, nobody else can do anything.
//  2. A Server answers on it. It holds no state of the node: each request asks
//     the Node that it was given, and what comes back is written as JSON. Two
//     things are its own: the readiness check, which is made once for all that
//     ask within the same moment, and the walk over the queue for requests that
//     mean all messages, a page at a time.
//  3. A Client asks, and returns the same types, or an *api.Error as the
//     server sent it, or an *Unreachable if nobody answered.
//
// The other programs of a node have such a socket too, made by Listen and served
// by an Endpoint, which is a Server without a node behind it: anymx-bgp answers a
// SpeakerClient, anymx-net a NetworkClient, anymx-machine a MachineClient. An order
// to anymx-machine is answered with lines while it is carried out (HandleStream).
//
// The TCP listener serves /metrics, /healthz, /readyz and the page at /, all of
// them for reading and none with a mail address in it.
//
//	GET  /v1/status          Status
//	GET  /v1/version         Version
//	GET  /v1/queue           QueuePage; parameters of QueueQuery
//	GET  /v1/queue/{id}      QueueDetail
//	POST /v1/queue/{action}  Change in, Changed out; flush, hold, release, delete
//	GET  /v1/spool           SpoolReport
//	POST /v1/spool/set-aside SpoolAside
//	POST /v1/drain           DrainRequest in, Status out
//	POST /v1/resume          Status
//	POST /v1/reload          Reloaded
//	POST /v1/self-test       SelfTest
//	GET  /v1/shield/top      ShieldTop; n is how many of each (anymx-net)
//	GET  /v1/shield/lists    ShieldLists
//	POST /v1/shield/list     ShieldEntry in and out
//	POST /v1/shield/unlist   ShieldUnlist in, ShieldUnlisted out
//	POST /v1/shield/mode     ShieldMode in, NetworkStatus out
//	POST /v1/update          a bundle in, MachineProgress out, a line for each (anymx-machine)
//	POST /v1/rollback        PowerRequest in, MachineProgress out; reboot and poweroff too
//	POST /v1/provision       ProvisionRequest in, Provisioned out
//	GET  /metrics /healthz /readyz
package control
