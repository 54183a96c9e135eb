// Package control is the interface of a running node for people and programs: HTTP and JSON over a
// unix socket, and a TCP listener for metrics, health and a status page. Server and client live in
// one package, so that both sides of the socket are compiled from the same types, those of package
// api.
//
// What happens to the data:
//
//  1. Listen makes the unix socket, mode 0660: whoever may open it may do everything that the
//     socket offers, nobody else can do anything.
//  2. A Server answers on it. It holds no state of the node: each request asks the Node that it was
//     given, and writes the result as JSON. Two things are its own: the readiness check, of which
//     one serves all requests at the same time, and the iteration over the queue for requests that
//     select all messages, a page at a time.
//  3. A Client sends requests, and returns the same types, or the *api.Error that the server sent,
//     or an *Unreachable if there was no answer.
//
// The other programs of a node have such a socket too, made by Listen and served by an Endpoint,
// which is a Server without a node: anymx-bgp serves a SpeakerClient, anymx-net a NetworkClient,
// anymx-machine a MachineClient. anymx-machine answers an operation with lines while it runs
// (HandleStream).
//
// The TCP listener serves /metrics, /healthz, /readyz and the page at /, all of them read-only and
// without mail addresses.
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
