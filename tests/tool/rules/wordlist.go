package rules

// bare are words that a method is not called alone: they don't say what the method acts on, and
// nobody can search for them.
var bare = []string{"begin", "place", "settle", "take", "tell"}

// exempt are the rooms and files (patterns of path.Match) whose words are not checked yet, because
// their code is about to be rewritten: the SMTP session and its transport, the queue and the
// hand-off, the BGP sessions, and the status page. Whoever rewrites one removes it from this list;
// "go test ./tests/tool/rules -run TestWords -room ROOM" lists what is left in it.
var exempt = []string{
	"bgp",
	"edge/delivery/handoff",
	"edge/operate/control/page*",
	"edge/queue",
}

// stored are the banned words that are names in files on disk. They stay, because the version in the
// other slot of an appliance reads the same files.
var stored = []storedWord{
	{"edge/appliance/machine/record.go", "proven"},
	{"edge/uplink/anycast/desired_file.go", "order"},
}

type storedWord struct{ file, word string }

// advice is a pattern of banned words, and what to write instead. A space in the pattern also
// matches the end of a line.
type advice struct{ pattern, instead string }

// prose is not written in comments, messages and docs.
var prose = []advice{
	// Phrases that a reader has to read twice.
	{`(stands?|stood) for`, `"is", or "means"`},
	{`by turns`, `"alternately"`},
	{`once more`, `"again"`},
	{`anew`, `"again", or a verb with "re-": restarted, rewritten`},
	{`(what|who|which|whom) nobody`, `the subject: who does it, or what is missing`},
	{`(it|is|are) looked (for|whether|at|after)`, `who looks: "we check whether ..."`},
	{`(is|are|was|were) gone back`, `"rollback goes to", "returns to"`},
	{`is to be`, `"must be", "should be", or the verb itself`},
	{`from no other`, `"only from"`},
	{`(what|all that) (is|was|it was|were) (told|kept|taken)`, `the noun: the report, the stored state, the accepted message`},
	{`what is not wanted`, `the noun: the unwanted thing`},
	{`(i|ha)s no(thing|body) to (say|tell)`, `"reports nothing"`},
	// Words of our own, where the industry has one.
	{`(a|the|each|every|first|second|next|last|later|one|this|that|per|no|another|any|its|their|whose) try`, `"attempt"`},
	{`(\d+|two|three|all|the|its|of|more|many|few|these|those|any|both|their|failed|boot) tries`, `"attempts", or "boot attempts left"`},
	{`tries (left|made|already|so far|that (are|it))`, `"attempts", or "boot attempts left"`},
	{`try (number|of the|counts?|costs?|ends|failed|fails|has)`, `"attempt"`},
	{`(a|an|the|its|each|every|no|of|for|another|without|after|before|node's|edge's|all|but|or) proofs?`, `"self-test"`},
	{`proven`, `"confirmed" of a version, "passed its self-test" of a node`},
	{`prov(e|es|ed|ing) (itself|the node|a node|a version|the version|this version)`, `"run the self-test", "confirm the version"`},
	{`(proved|proves|proving) healthy`, `"passed its self-test"`},
	{`(the speaker's|standing) orders?`, `"desired state"`},
	{`orders? (to|of|for) the speaker`, `"desired state"`},
	{`order(s|ed|ing)? the speaker`, `"command", "sets the desired state"`},
	{`(speaker|it|was|were|is) (was |is )?ordered to`, `"told to", or "the desired state"`},
	{`config tree`, `"config bundle"`},
	{`tree of (the |a )?config`, `"config bundle"`},
	{`(node|stick|operator|machine)'s tree`, `"config bundle"`},
	{`(acknowledged|accepted|another) letters?`, `"message"`},
	{`sends? a letter`, `"message"`},
	{`letters? (is|are) (lost|delivered|accepted|stored)`, `"message"`},
	{`agenda`, `"schedule"`},
	{`lobby`, `what it is: the listener, the caps`},
	{`wish(es)?`, `"pending operation"`},
	{`(front|back|side|hostile) doors?`, `"listener", "endpoint"`},
	{`(the|a|each|every|that|this|at|which) doors?`, `"listener", "endpoint"`},
	{`(a|the|each|one|up) walks?`, `"drain", "drain run"`},
	{`(drain|node|stop|restart|edge) (would |will |that )?walks?`, `"drains", "goes through the steps of the drain"`},
	{`(drain's|the|a|whose) standing`, `"drain state"`},
	{`no (message|mail) waits`, `"queue is empty"`},
	{`not a domain of ours`, `"relay access denied"`},
	{`before my banner`, `"protocol error: data received before greeting"`},
}

// shown is not written where users read: docs, messages, metric names, the output of commands.
var shown = []advice{
	{`octets?`, `"byte", "bytes"`},
}

// notA finds "is no socket" for "is not a socket".
const notA = `(?:\b(\w+) )?\b(?:is|are|was|were) no (\w+)`

// quantities may follow "is no".
var quantities = []string{
	"better", "bigger", "different", "earlier", "faster", "fewer", "good", "greater", "higher", "larger", "later",
	"less", "longer", "lower", "matter", "more", "newer", "older", "one", "other", "problem", "shorter", "slower",
	"smaller", "sooner", "use", "way", "wider", "worse", "yes",
}

// named are the words that are no part of a declared name, a metric's name or the name of a JSON
// field.
var named = []advice{
	{`agendas?`, "schedule"},
	{`doors?|lobby`, "listener, endpoint"},
	{`dialect`, "the name of the protocol"},
	{`octets?`, "bytes"},
	{`proofs?|proven|prove[ds]?|proving`, "self-test, passed, confirmed"},
	{`standings?`, "state"},
	{`tries`, "attempts"},
	{`wish(es)?`, "pending"},
}
