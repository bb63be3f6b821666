package meshloom

import (
	"context"
	"fmt"
	"reflect"
	"regexp"

	"github.com/meshloom/meshloom/sdks/go/internal/columns"
	meshloomv1 "github.com/meshloom/meshloom/sdks/go/internal/pb/meshloom/v1"
)

// Node is a handler with a name, ready to be served by [Main] or [Serve].
type Node struct {
	name    string
	role    meshloomv1.HandlerRole
	schema  []byte
	options options
	setup   func(ctx context.Context, config []byte) (Handler, error)
}

// Name returns the handler's name, by which a pipeline file picks it where a process serves several.
func (n *Node) Name() string { return n.name }

type options struct {
	description string
	routes      []string
	concurrency int
	limits      meshloomv1.Limits
	volatile    bool // a source that cannot replay
	partitioned bool
}

// Option sets a property of a node that is known before its set-up has run.
type Option func(*options)

// Routes declares the routes that outputs may take, see [Out.Route].
func Routes(names ...string) Option {
	return func(o *options) { o.routes = append(o.routes, names...) }
}

// Description says in one line what the node does, for people who look at the pipeline.
func Description(text string) Option { return func(o *options) { o.description = text } }

// Concurrency sets how many calls of the handler may run at one time in one stream; the default is 16. The pipeline file
// overrides it. Handlers that call slow services want more, handlers that are not safe for concurrent use want 1.
func Concurrency(calls int) Option { return func(o *options) { o.concurrency = calls } }

// MaxInFlight sets how many batches the coordinator may have in hand at this node; the default is 8.
func MaxInFlight(works int) Option {
	return func(o *options) { o.limits.MaxInFlightWorks = uint32(works) }
}

// MaxBatch sets the largest batch: events, at most 65,536, and encoded bytes, at most 32 MiB. 0 leaves the maximum; a node with
// more than that is refused by a panic at its declaration.
func MaxBatch(events int, bytes Size) Option {
	return func(o *options) {
		o.limits.MaxBatchEvents, o.limits.MaxBatchBytes = uint32(events), uint64(bytes)
	}
}

// Volatile declares a source that cannot produce its events again from a checkpoint; the coordinator keeps a journal of
// what it sends.
func Volatile() Option { return func(o *options) { o.volatile = true } }

// Partitioned declares a source whose replicas share the work; without it a source runs as one replica.
func Partitioned() Option { return func(o *options) { o.partitioned = true } }

// New makes a node without config.
func New(name string, handler Handler, opts ...Option) *Node {
	return newNode(name, handler.role(), reflect.TypeFor[struct{}](), opts, func(_ context.Context, config []byte) (Handler, error) {
		return handler, decodeConfig(config, &struct{}{})
	})
}

// NewWith makes a node with a set-up, which runs once per process and distinct config before the node is ready. The
// config is a struct read strictly from the pipeline file by its `json` tags: unknown keys are refused,
// `meshloom:"required"` demands a field and `default:"5s"` gives it a value. An error from [InvalidConfig] keeps the
// pipeline from starting; any other is taken for an outage, and the set-up is tried again.
func NewWith[Config any, H HandlerKind](name string, setup func(ctx context.Context, config Config) (H, error), opts ...Option) *Node {
	var kind H
	configType := reflect.TypeFor[Config]()
	checkConfigType(configType)
	return newNode(name, kind.role(), configType, opts, func(ctx context.Context, data []byte) (Handler, error) {
		var config Config
		if err := decodeConfig(data, &config); err != nil {
			return nil, err
		}
		return setup(ctx, config)
	})
}

var nodeName = regexp.MustCompile(`^[a-z][a-z0-9_-]*$`)

func newNode(name string, role meshloomv1.HandlerRole, config reflect.Type, opts []Option, setup func(context.Context, []byte) (Handler, error)) *Node {
	if !nodeName.MatchString(name) {
		panic(fmt.Sprintf("meshloom: the name %q of a node must match %s", name, nodeName))
	}
	n := &Node{name: name, role: role, schema: configSchema(config), setup: setup}
	for _, set := range opts {
		set(&n.options)
	}
	if l := &n.options.limits; l.MaxBatchEvents > columns.MaxEvents || l.MaxBatchBytes > columns.MaxBatchBytes {
		panic(fmt.Sprintf("meshloom: node %s: MaxBatch(%d, %d) is beyond the protocol's limits of %d events and %d bytes", name, l.MaxBatchEvents, l.MaxBatchBytes, columns.MaxEvents, columns.MaxBatchBytes))
	}
	return n
}

const (
	defaultConcurrency = 16
	defaultInFlight    = 8
)

// calls returns how many calls of the handler may run at one time in a stream.
func (n *Node) calls(request *meshloomv1.OpenProcess) int {
	switch {
	case request.GetOrdering() == meshloomv1.Ordering_ORDERING_ALL:
		return 1
	case request.GetConcurrency() > 0:
		return int(request.GetConcurrency())
	case n.options.concurrency > 0:
		return n.options.concurrency
	default:
		return defaultConcurrency
	}
}

// limitsMessage returns the limits that the node opens with, defaults filled in.
func (n *Node) limitsMessage() *meshloomv1.Limits {
	l := &meshloomv1.Limits{MaxInFlightWorks: n.options.limits.MaxInFlightWorks, MaxBatchEvents: n.options.limits.MaxBatchEvents, MaxBatchBytes: n.options.limits.MaxBatchBytes}
	if l.MaxInFlightWorks == 0 {
		l.MaxInFlightWorks = defaultInFlight
	}
	return l
}

func (n *Node) describe() *meshloomv1.Handler {
	h := &meshloomv1.Handler{
		Name: n.name, Role: n.role, ConfigSchema: n.schema, Routes: n.options.routes,
		Limits: n.limitsMessage(), Description: n.options.description,
	}
	if n.role == meshloomv1.HandlerRole_HANDLER_ROLE_SOURCE {
		h.Replays, h.Partitioned = !n.options.volatile, n.options.partitioned
	}
	return h
}

// contained runs a function of the user and turns a panic into an error.
func contained(run func() error) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = newPanicError(cause)
		}
	}()
	return run()
}
